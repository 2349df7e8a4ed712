"""Stage a new night from its film alone: stages, statistics and a report, or live from a camera."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tyro.conf import Positional

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.films.epochs import VideoEpoch, camera_epochs, film_epochs
from xdistill.sleep.films.facts import FilmFacts, film_facts
from xdistill.sleep.grid import Grid
from xdistill.sleep.hypnograms.hypnogram import grid_of, on_grid
from xdistill.sleep.hypnograms.read import read_hypnogram
from xdistill.sleep.hypnograms.scores import Numbers
from xdistill.sleep.marks import marks_text
from xdistill.sleep.report.night import StagedNight
from xdistill.sleep.report.page import Reference
from xdistill.sleep.report.statistics import MEASURES, sleep_statistics
from xdistill.sleep.stage.folder import night_folder, write_staged_night
from xdistill.sleep.stage.night import Decision, NightSoFar, stage_film, stage_live
from xdistill.sleep.stage.stager import Stager
from xdistill.sleep.stage.students import load_stager
from xdistill.sleep.video_options import VideoOptions


@dataclass(frozen=True)
class Options:
    """What to stage, and with what."""

    source: Positional[str]
    """A film (MP4, MKV, AVI), or the number of a camera for live use."""
    model: Path
    """Folder of a run of `xdistill train`, or a file of `xdistill export`."""
    out: Path | None = None
    """Folder for the report and its files; a live night may do without."""
    student: str | None = None
    """Method of the run's student; the one that validation preferred when left out."""
    seed: int = 0
    """Which of the method's students."""
    reference: Path | None = None
    """A scorer's hypnogram of the same night, to compare with."""
    reference_numbers: Numbers | None = None
    """What numbers mean in a reference that is a text: YASA's (4 is REM) or those of Rechtschaffen
    and Kales (4 is stage 4, 5 is REM)."""
    start: datetime | None = None
    """When the film begins, as in 2026-03-04T22:51:12; from the film when left out."""
    region: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the bed as shares of this film's upright picture; as in
    training when left out."""
    hours: float | None = None
    """End a live night after so many hours; Ctrl-C ends it, too."""
    batch_size: int = 32
    """Epochs that the student sees at once."""
    overwrite: bool = False
    """Replace the files of an earlier night in the folder."""

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            ValueError: says which.
        """
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, got {self.batch_size}")
        if self.live and self.reference is not None:
            raise ValueError("a live night has no --reference; stage its film afterwards")
        if not self.live and self.out is None:
            raise ValueError("--out is missing: the folder for the report of a film")
        if not self.live and self.hours is not None:
            raise ValueError("--hours ends a live night; a film ends by itself")
        if self.hours is not None and not self.hours * 3600 >= EPOCH_S:
            raise ValueError(f"--hours must be at least an epoch of {EPOCH_S} s, got {self.hours}")

    @property
    def live(self) -> bool:
        """Whether the source is a camera."""
        return self.source.isdecimal() and not Path(self.source).exists()


class _Staged(NamedTuple):
    night: StagedNight
    reference: Reference | None
    facts: dict[str, Any]


def run(options: Options) -> int:
    """Stage the night and write its folder; 1 if a live night ended before its first epoch."""
    options.check()
    if not options.live and not Path(options.source).is_file():
        raise FileNotFoundError(
            f"there is no film {options.source}; give a video file, or the number of a camera"
        )
    if options.out is None:
        stager = load_stager(options.model, options.student, options.seed)
        _live(options, stager)
        return 0
    with night_folder(options.out, overwrite=options.overwrite) as out:
        stager = load_stager(options.model, options.student, options.seed)
        with _warnings_told() as told:
            staged = _live(options, stager) if options.live else _film(options, stager)
        if staged is None:
            return 1
        facts = {**staged.facts, "warnings": told, "modalities": list(stager.modalities)}
        report = write_staged_night(out, staged.night, stager.facts, facts, staged.reference)
    print(_summary(staged.night))
    print(f"written: {report}")
    return 0


def _film(options: Options, stager: Stager) -> _Staged:
    path = Path(options.source)
    facts = film_facts(path)
    preprocessing = _preprocessing(options, stager)
    require_fitting(facts, preprocessing, stager.facts.film_hz)
    start = options.start or facts.start
    grid, reference = Grid(), None
    if options.reference is not None:
        try:
            hypnogram = read_hypnogram(options.reference, start, numbers=options.reference_numbers)
        except ValueError as error:  # an argument's name becomes that of the option
            told = re.sub(r"numbers='(\w+)'", r"--reference-numbers \1", str(error))
            raise ValueError(told) from error
        grid = grid_of(hypnogram, facts.duration_s)
        _tell_of_clock(path, start, grid)
        reference = Reference(options.reference.name, on_grid(hypnogram, grid).stages)
    epochs = film_epochs(path, preprocessing, grid, progress=_progress())
    begins = None if start is None else start + timedelta(seconds=grid.start_s)
    night = stage_film(epochs, stager, options.batch_size).night(path.name, begins)
    kept = {**facts._asdict(), "path": str(path), "grid": grid._asdict()}
    return _Staged(night, reference, {"film": kept, "preprocessing": asdict(preprocessing)})


def _tell_of_clock(path: Path, start: datetime | None, grid: Grid) -> None:
    """Warn of what a reference's place on the film's clock rests on."""
    if start is None:
        warnings.warn(
            f"{path} says no start time, so that the reference is taken to begin with the film; "
            "pass --start if it began at another time",
            stacklevel=2,
        )
    if grid.start_s:
        warnings.warn(
            f"the reference's epochs begin {grid.start_s:g} s after the film, and so do those that "
            "are staged: what comes before is in none",
            stacklevel=2,
        )


def require_fitting(facts: FilmFacts, options: VideoOptions, film_hz: float | None) -> None:
    """Refuse a film that has less than a student has to see; any other is resampled.

    Args:
        facts: of the film.
        options: how films become what the student sees.
        film_hz: lowest frame rate in its training; None where it is not known.

    Raises:
        ValueError: shorter than an epoch, or fewer frames a second than the clip's.
    """
    if facts.duration_s < EPOCH_S:
        raise ValueError(
            f"{facts.path} lasts {facts.duration_s:.1f} s, and an epoch {EPOCH_S} s; nothing can "
            "be staged"
        )
    needed_hz = options.frames / EPOCH_S
    if facts.rate_hz < 0.99 * needed_hz:
        raise ValueError(
            f"{facts.path} has {facts.rate_hz:.2g} frames a second, and the student was trained on "
            f"{needed_hz:.2g}, which it would see as a picture that stands still; record at "
            f"{max(needed_hz, options.body_rate_hz):g} a second or more, or train a student with "
            "fewer frames"
        )
    usual_hz = min(options.body_rate_hz, film_hz or options.body_rate_hz)
    if facts.rate_hz < 0.95 * usual_hz:
        warnings.warn(
            f"{facts.path} has {facts.rate_hz:.3g} frames a second, and films of the training "
            f"{usual_hz:.3g} or more: movement and breathing are less fine than there",
            stacklevel=2,
        )


def _preprocessing(options: Options, stager: Stager) -> VideoOptions:
    if options.region is None:
        return stager.preprocessing
    return replace(stager.preprocessing, region=options.region)


def _live(options: Options, stager: Stager) -> _Staged | None:
    if not stager.causal:
        print(
            "the student's context looks both ways; live, it sees what has passed alone, and its "
            "decisions are less sure than its scores say",
            file=sys.stderr,
        )
    preprocessing = _preprocessing(options, stager)
    count = None if options.hours is None else int(options.hours * 3600 / EPOCH_S)
    begun = options.start or datetime.now().replace(microsecond=0)
    source = f"camera {options.source}"
    epochs = camera_epochs(int(options.source), preprocessing, Grid(count=count))
    night = NightSoFar(stager)
    tell(epochs, night, begun)
    if not len(night):
        print("no epoch of 30 s was over; nothing is written", file=sys.stderr)
        return None
    facts = {"camera": int(options.source), "preprocessing": asdict(preprocessing)}
    return _Staged(night.night(source, begun), None, facts)


def tell(epochs: Iterator[VideoEpoch], night: NightSoFar, begun: datetime) -> None:
    """Print a decision for each epoch as it comes, until they end or the user ends them."""
    try:
        for decision in stage_live(epochs, night):
            print(decision_line(decision, begun), flush=True)
    except KeyboardInterrupt:
        print("ended by hand", file=sys.stderr)


def decision_line(decision: Decision, begun: datetime) -> str:
    """One line: when the epoch began, its stage, the probabilities of all stages, and marks."""
    at = begun + timedelta(seconds=decision.number * EPOCH_S)
    chances = "  ".join(
        f"{name} {'–' if np.isnan(one) else f'{one:.2f}'}"
        for name, one in zip(STAGES, decision.probabilities, strict=True)
    )
    line = f"{at:%H:%M:%S}  {decision.stage or '–':<3}  {chances}  {marks_text(decision.marks)}"
    return line.rstrip()


def _summary(night: StagedNight) -> str:
    statistics = sleep_statistics(night.stages)
    shown = ("TIB", "TST", "SE", "SOL", "WASO", "REM_latency", "missing")
    lines = []
    for measure in MEASURES:
        if measure.name in shown:
            value = getattr(statistics, measure.name)
            text = "–" if np.isnan(value) else f"{value:.1f} {measure.unit}"
            lines.append(f"{measure.label:<24} {text:>12}")
    return "\n".join(lines)


def _progress() -> Any:
    if not sys.stderr.isatty():
        return None

    def show(share: float) -> None:
        print(f"\r{100 * share:3.0f} %", end="\n" if share >= 1 else "", file=sys.stderr)

    return show


@contextmanager
def _warnings_told() -> Iterator[list[str]]:
    """What is warned of, as lines on stderr and in a list."""
    told: list[str] = []

    def show(message: Any, category: type[Warning], *rest: Any) -> None:
        told.append(str(message))
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield told
