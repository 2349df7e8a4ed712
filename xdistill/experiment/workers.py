"""Runs trials in processes, one per core, and goes on when one of them fails or dies."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from suite_trial import Place, TeacherTrial, Trial, keep, run_and_keep

from xdistill.report import read_json

Result = dict[str, Any]
AnyTrial = Trial | TeacherTrial


class Workers(AbstractContextManager):
    """A pool of processes that run trials.

    Trials whose file is there without an error are read, not run again. A process that dies takes
    the trials that were running with it; those are run once more, alone, and what kills its process
    again is recorded as failed.

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

    def run(self, title: str, trials: Iterable[AnyTrial]) -> dict[AnyTrial, Result]:
        """The result of each trial, in the order given."""
        asked = list(dict.fromkeys(trials))
        results = {trial: done for trial in asked if (done := self._finished(trial)) is not None}
        waiting = deque(trial for trial in asked if trial not in results)
        print(f"{title}: {len(asked)} runs, {len(waiting)} to do", flush=True)
        begin, total = time.monotonic(), len(waiting)
        running: dict[Future[Result], AnyTrial] = {}
        while waiting or running:
            # No more than run at once are handed over, so that a dead process's are known.
            while waiting and len(running) < self.processes:
                trial = waiting.popleft()
                running[self.pool.submit(run_and_keep, trial, self.place)] = trial
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            if any(isinstance(one.exception(), BrokenProcessPool) for one in done):
                lost = list(running.values())
                running.clear()
                self.pool = self._new_pool(self.processes)
                results |= {trial: self._alone(trial) for trial in lost}
            for one in done & set(running):
                trial = running.pop(one)
                results[trial] = one.result()
                ended = total - len(waiting) - len(running)
                _report(trial, results[trial], ended, total, time.monotonic() - begin)
        return {trial: results[trial] for trial in asked}

    def _finished(self, trial: AnyTrial) -> Result | None:
        path = trial.path(self.place)
        if not path.exists():
            return None
        kept = read_json(path)
        return None if "error" in kept else kept

    def _alone(self, trial: AnyTrial) -> Result:
        kept = self._finished(trial)  # it may have ended just before another one died
        if kept is not None:
            return kept
        with self._new_pool(1) as pool:
            try:
                return pool.submit(run_and_keep, trial, self.place).result()
            except BrokenProcessPool:
                result = {**asdict(trial), "error": "its process died twice", "seconds": None}
                keep(trial, self.place, result)
                return result


def _report(trial: AnyTrial, result: Result, ended: int, total: int, seconds: float) -> None:
    left = seconds / ended * (total - ended) / 60
    what = f"{trial.setting} · {trial.method} · seed {trial.seed}"
    if "error" in result:
        print(f"  failed: {what}: {result['error']}", flush=True)
    if ended % max(1, total // 20) == 0 or ended == total:
        print(f"  {ended}/{total}, about {left:.0f} min to go (last: {what})", flush=True)
