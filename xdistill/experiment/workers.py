"""Runs trials in processes, one per core, and carries on when one of them fails or dies."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from xdistill.experiment.experiment import Experiment
from xdistill.experiment.run_folder import Failure, Outcome, Result, read_outcome, write_outcome
from xdistill.experiment.setting import Setting, get_setting
from xdistill.experiment.trial import AnyTrial
from xdistill.storage.names import plain_name


@dataclass(frozen=True)
class Place:
    """Where the trials of several settings read and write.

    Attributes:
        data_root: folder that holds a folder for each data set.
        out: folder of all runs, with a folder for each setting.
        teacher_share: share of the training groups set aside for the transfer case's teacher, in
            settings that name neither one nor another corpus for it.
    """

    data_root: Path
    out: Path
    teacher_share: float = 0.0

    def setting(self, name: str) -> Setting:
        """A registered setting, with the share of its transfer teacher."""
        setting = get_setting(name)
        if setting.teacher_share or setting.teacher_load is not None:
            return setting
        return replace(setting, teacher_share=self.teacher_share)

    def experiment(self, setting: str) -> Experiment:
        """The experiment of a registered setting."""
        folder = self.out / plain_name(setting, "the setting")
        return Experiment(setting, folder, self.setting(setting), data_root=self.data_root)

    def folder(self, trial: AnyTrial) -> Path:
        """The folder of a trial."""
        return self.out / plain_name(trial.setting, "the setting") / trial.folder


# The trials of a setting follow each other, and share its data and its teachers.
_experiment = lru_cache(maxsize=1)(Place.experiment)


def run_and_keep(trial: AnyTrial, place: Place) -> Outcome:
    """Run a trial in this process with one thread; what goes wrong is kept as its result."""
    torch.set_num_threads(1)
    begin = time.perf_counter()
    try:
        return _experiment(place, trial.setting).run(trial)
    except Exception as error:  # whatever it is, the other runs carry on
        seconds = round(time.perf_counter() - begin, 2)
        failure = Failure(f"{type(error).__name__}: {error}", seconds)
        write_outcome(place.folder(trial), trial, failure)
        return failure


class Workers(AbstractContextManager):
    """A pool of processes that run trials.

    Finished trials are read, not run again; failed ones are tried again. A process that dies takes
    the trials that were running with it; those are run once more, alone, and a trial whose process
    dies again is recorded as failed.

    Args:
        place: where to read and write.
        processes: how many at a time.
    """

    def __init__(self, place: Place, processes: int):
        self.place = place
        self.processes = processes
        self.pool = self._new_pool(processes)

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _new_pool(processes: int) -> ProcessPoolExecutor:
        # Spawned, because a fork of a process in which torch has threads may hang.
        return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))

    def run(self, title: str, trials: Iterable[AnyTrial]) -> dict[AnyTrial, Outcome]:
        """The outcome of each trial, in the order given.

        Args:
            title: what the progress messages call them.
            trials: what to run; repeated ones are run once.
        """
        asked = list(dict.fromkeys(trials))
        outcomes: dict[AnyTrial, Outcome] = {
            trial: done for trial in asked if (done := self._finished(trial)) is not None
        }
        waiting = deque(trial for trial in asked if trial not in outcomes)
        print(f"{title}: {len(asked)} runs, {len(waiting)} to do", flush=True)
        begin, total = time.monotonic(), len(waiting)
        running: dict[Future[Outcome], AnyTrial] = {}
        while waiting or running:
            # Only as many as can run are handed over: those are lost when a process dies.
            while waiting and len(running) < self.processes:
                try:
                    running[self.pool.submit(run_and_keep, waiting[0], self.place)] = waiting[0]
                except BrokenProcessPool:  # a process died since; what ran with it is found below
                    break
                waiting.popleft()
            if not running:
                self.pool = self._new_pool(self.processes)
                continue
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(one.exception(), BrokenProcessPool) for one in done):
                lost = list(running.values())
                running.clear()
                self.pool = self._new_pool(self.processes)
                outcomes |= {trial: self._alone(trial) for trial in lost}
            for one in done & set(running):
                trial = running.pop(one)
                outcomes[trial] = one.result()
                ended = total - len(waiting) - len(running)
                _report(trial, outcomes[trial], ended, total, time.monotonic() - begin)
        return {trial: outcomes[trial] for trial in asked}

    def _finished(self, trial: AnyTrial) -> Result | None:
        outcome = read_outcome(self.place.folder(trial))
        return outcome if isinstance(outcome, Result) else None

    def _alone(self, trial: AnyTrial) -> Outcome:
        finished = self._finished(trial)  # it may have ended just before another one died
        if finished is not None:
            return finished
        with self._new_pool(1) as pool:
            try:
                return pool.submit(run_and_keep, trial, self.place).result()
            except BrokenProcessPool:
                failure = Failure("its process died twice", None)
                write_outcome(self.place.folder(trial), trial, failure)
                return failure


def _report(trial: AnyTrial, outcome: Outcome, ended: int, total: int, seconds: float) -> None:
    left = seconds / ended * (total - ended) / 60
    what = f"{trial.setting} · {trial.method} · seed {trial.seed}"
    if isinstance(outcome, Failure):
        print(f"  failed: {what}: {outcome.error}", flush=True)
    if ended % max(1, total // 20) == 0 or ended == total:
        print(f"  {ended}/{total}, about {left:.0f} min to go (last: {what})", flush=True)
