"""One night: recording, film and hypnogram become a folder of the prepared ones."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xdistill.data.adapters.nights import NightWriter
from xdistill.data.adapters.nights.layout import night_folder
from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.align.clocks import Alignment, estimate_alignment
from xdistill.sleep.body.features import BODY_FEATURES
from xdistill.sleep.films.facts import FilmFacts, film_facts
from xdistill.sleep.hypnograms.hypnogram import Hypnogram, grid_of, on_grid
from xdistill.sleep.hypnograms.read import read_hypnogram
from xdistill.sleep.marks import Mark
from xdistill.sleep.prepare.clock import (
    SEARCH_S,
    Clock,
    Move,
    beyond,
    clock_of,
    facts_of,
    moved_grid,
)
from xdistill.sleep.prepare.options import Options
from xdistill.sleep.prepare.sources import made_from
from xdistill.sleep.prepare.spool import Film, Spool, course, cut
from xdistill.sleep.prepare.staging import yasa_of
from xdistill.sleep.prepare.table import NightRow
from xdistill.sleep.prepare.wording import in_options
from xdistill.sleep.recordings.epochs import signal_epochs
from xdistill.sleep.recordings.recording import Recording, read_recording

SIGNALS_SHARE = 0.1
"""Of the work of a night with a film, what comes before the film."""


class NightTask(NamedTuple):
    """A night to prepare.

    Attributes:
        root: the prepared folder.
        row: of the table.
        options: of the command.
        threads: of the film's decoder.
    """

    root: Path
    row: NightRow
    options: Options
    threads: int = 0


class _Opened(NamedTuple):
    recording: Recording | None
    film: FilmFacts | None
    hypnogram: Hypnogram | None
    clock: Clock


def prepare_night(task: NightTask, tell: Callable[[float], None]) -> Path:
    """Prepare a night; returns its folder, which appears when it is complete.

    Args:
        task: the night.
        tell: is called with the share that is done.

    Raises:
        ValueError: a file that cannot be read, or files that do not go together.
        OSError: a file is missing, or the folder cannot be written.
        ImportError: a library of the extra `sleep` is missing.
    """
    made = made_from(task.row, task.options)
    with _collected() as said:
        opened = _open(task)
        with NightWriter(
            task.root,
            task.row.name,
            subject=task.row.subject,
            epochs=opened.clock.count,
            feature_names=BODY_FEATURES,
            **_shapes(task, opened),
        ) as writer:
            signals = _put_signals(writer, task.options, opened)
            scored, yasa = _put_stages(writer, task, opened)
            tell(SIGNALS_SHARE)
            found, move = _put_film(writer, task, opened, tell)
            return writer.finish(
                stages=None if scored is None else scored.stages,
                yasa=None if yasa is None else yasa.probabilities,
                start=None if opened.clock.start is None else opened.clock.start.isoformat(),
                facts={
                    "made_from": made,
                    "sources": {name: str(path) for name, path in task.row.files.items()},
                    **facts_of(opened.clock, found, move),
                    "signals": signals,
                    **_film_facts(task, opened.film),
                    "scorer": None if scored is None else scored.scorer,
                    "counts": _counts(writer.marks, scored, yasa),
                    "warnings": _texts(said),
                },
            )


@contextmanager
def _collected() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield said


def _texts(said: list[warnings.WarningMessage]) -> list[str]:
    """What the user should know of the night; libraries' notes to programmers are none of it."""
    told = (one for one in said if issubclass(one.category, UserWarning | RuntimeWarning))
    return list(dict.fromkeys(in_options(str(one.message)) for one in told))


def _open(task: NightTask) -> _Opened:
    """Everything that can be found wrong before the film is decoded."""
    row, options = task.row, task.options
    film = None if row.video is None else film_facts(row.video)
    if row.eeg is None:
        return _Opened(None, film, None, clock_of(None, film, None, 0.0))
    recording = read_recording(
        row.eeg,
        options.channels(row) or None,
        reference=options.reference or None,
        unit=options.unit,
    )
    hypnogram, first_s = None, 0.0
    if row.hypnogram is not None:
        numbers = options.hypnogram_numbers
        hypnogram = read_hypnogram(row.hypnogram, recording.start, numbers=numbers)
        first_s = grid_of(hypnogram, recording.duration_s).start_s
        if first_s:
            warnings.warn(
                f"the scorer's epochs begin {first_s:g} s after the recording, and so do the "
                "night's: what comes before is in none",
                stacklevel=2,
            )
    clock = clock_of(recording, film, row.video_offset_s, first_s)
    return _Opened(recording, film, hypnogram, clock)


def _shapes(task: NightTask, opened: _Opened) -> dict[str, tuple[int, int] | None]:
    if opened.film is None:
        return {"video": None, "body": None}
    options = task.options.film_options(task.row.region)
    return {
        "video": (options.frames, options.size),
        "body": (len(options.body_channels), options.body_samples),
    }


def _put_signals(writer: NightWriter, options: Options, opened: _Opened) -> dict[str, Any]:
    """Write the signals and the EEG's marks; returns what night.json says of them."""
    facts = {}
    recording = opened.recording
    if recording is None or "eeg" not in recording.signals:
        for epoch in range(opened.clock.count):
            writer.put_marks(epoch, {Mark.NO_EEG})
    if recording is None or opened.clock.eeg is None:
        return facts
    for kind, signal in recording.signals.items():
        epochs = signal_epochs(recording, kind, opened.clock.eeg)
        if kind == "eeg":
            for epoch, marks in enumerate(epochs.marks):
                writer.put_marks(epoch, marks)
        if kind not in options.signals:
            continue
        epochs.values[[Mark.NO_EEG in marks for marks in epochs.marks]] = np.nan
        writer.put_signal(kind, epochs.values)
        facts[kind] = {
            "channels": list(signal.channels),
            "rate_hz": signal.rate_hz,
            "unit": "as in the file" if kind == "resp" else "uV",
        }
    return facts


def _put_stages(
    writer: NightWriter, task: NightTask, opened: _Opened
) -> tuple[Hypnogram | None, Hypnogram | None]:
    """The scorer's stages and YASA's in the night's epochs, and the scorer's marks."""
    scored = yasa = None
    if opened.hypnogram is not None and opened.clock.eeg is not None:
        scored = on_grid(opened.hypnogram, opened.clock.eeg)
    unscored = [frozenset({Mark.UNSCORED})] * opened.clock.count
    for epoch, marks in enumerate(unscored if scored is None else scored.marks):
        writer.put_marks(epoch, marks)
    if task.row.yasa or (task.options.yasa and opened.recording is not None):
        assert opened.recording is not None and opened.clock.eeg is not None
        yasa = yasa_of(opened.recording, opened.clock.eeg)
    return scored, yasa


def _put_film(
    writer: NightWriter, task: NightTask, opened: _Opened, tell: Callable[[float], None]
) -> tuple[Alignment | None, Move | None]:
    facts, clock = opened.film, opened.clock
    if facts is None or clock.film is None:
        return None, None
    if text := beyond(clock, facts):
        warnings.warn(text, stacklevel=2)
    with Spool(night_folder(task.root, task.row.name)) as spool:
        film = spool.decode(
            facts.path,
            task.options.film_options(task.row.region),
            clock.film,
            movable=opened.recording is not None and task.options.correct_drift != "never",
            progress=lambda share: tell(SIGNALS_SHARE + (0.98 - SIGNALS_SHARE) * share),
            threads=task.threads,
        )
        found = None if opened.recording is None else _alignment(opened.recording, film, clock)
        move = moved_grid(clock, found, task.options.correct_drift)
        if move.warning:
            warnings.warn(move.warning, stacklevel=2)
        for epoch in range(clock.count):
            shown = cut(film, move.grid, epoch)
            writer.put_video(epoch, shown.clip, shown.body, shown.features, shown.marks)
    return found, move


def _alignment(recording: Recording, film: Film, clock: Clock) -> Alignment:
    """The estimate for the film's own beginning, from what was decoded of it."""
    body, first_s = course(film)
    found = estimate_alignment(
        recording,
        body,
        film.options.body_rate_hz,
        offset_s=clock.offset_s + first_s,
        search_s=SEARCH_S,
    )
    return found._replace(offset_s=found.offset_s - first_s / (1 + found.drift))


def _film_facts(task: NightTask, film: FilmFacts | None) -> dict[str, Any]:
    if film is None:
        return {"video": None, "body": None, "film": None}
    options = task.options.film_options(task.row.region)
    own = {**film._asdict(), "path": film.path.name}
    return {
        "video": asdict(options),
        "body": {"channels": list(options.body_channels), "rate_hz": options.body_rate_hz},
        "film": own | {"start": None if film.start is None else film.start.isoformat()},
    }


def _counts(
    marks: list[set[str]], scored: Hypnogram | None, yasa: Hypnogram | None
) -> dict[str, Any]:
    """Epochs with each thing, for the table at the end."""
    of_marks = Counter(mark for one in marks for mark in one)
    staged = [] if scored is None else [STAGES[at] for at in scored.stages if at >= 0]
    guessed = None if yasa is None or yasa.probabilities is None else yasa.probabilities
    return {
        "epochs": len(marks),
        "video": len(marks) - of_marks[Mark.NO_VIDEO],
        "eeg": len(marks) - of_marks[Mark.NO_EEG],
        "scored": len(staged),
        "yasa": 0 if guessed is None else int(np.isfinite(guessed).all(axis=1).sum()),
        "stages": {stage: staged.count(stage) for stage in STAGES},
        "marks": {str(mark): of_marks[mark] for mark in Mark if of_marks[mark]},
        "hours": round(len(marks) * EPOCH_S / 3600, 3),
    }
