"""A prepared night is written epoch by epoch, and appears when it is complete."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from xdistill.data.adapters.nights.layout import (
    AFTER,
    ARRAYS,
    BEFORE,
    EPOCHS,
    FACTS,
    FORMAT,
    NO_VIDEO,
    SIGNALS,
    NightRecord,
    night_folder,
)
from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.data.target import SUM_TOLERANCE
from xdistill.storage.atomic import cannot_write, partial_name
from xdistill.storage.checksums import of_file
from xdistill.storage.json_file import write_json
from xdistill.storage.mapped import new_array


class NightWriter:
    """Writes one night into a hidden folder, which `finish` renames to the night's own.

        with NightWriter(root, "n01", subject="s01", epochs=960, video=(30, 48)) as writer:
            for epoch, clip in enumerate(clips):
                writer.put_video(epoch, clip)
            writer.put_signal("eeg", values)
            writer.finish(stages=stages)

    Arrays are mapped into memory, so that a night needs the memory of an epoch. Without `finish`
    the context leaves nothing behind. A night of the same name is replaced.

    Args:
        root: the prepared folder.
        name: of the night.
        subject: who slept.
        epochs: their number E.
        video: frames T and side S of a clip; None for a night without film.
        body: channels C and samples L of the body's signals; None for none.
        feature_names: of the features of the body.

    Raises:
        ValueError: no epoch, or a name that is none of a folder.
        OSError: the folder cannot be written; names it.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        *,
        subject: str,
        epochs: int,
        video: tuple[int, int] | None = None,
        body: tuple[int, int] | None = None,
        feature_names: Sequence[str] = (),
    ):
        if epochs < 1 or not subject.strip():
            raise ValueError(
                f"night {name!r} has {epochs} epochs and the subject {subject!r}; expected at "
                "least one epoch of 30 s, and a name"
            )
        self.folder = night_folder(Path(root), name)
        self.name, self.subject, self.epochs = name, subject, epochs
        self.feature_names = tuple(feature_names)
        self.marks: list[set[str]] = [{NO_VIDEO} for _ in range(epochs)]
        self.features = np.full((epochs, len(self.feature_names)), np.nan, np.float32)
        self._partial = partial_name(self.folder)
        try:
            self._partial.mkdir(parents=True)
            self._video = video and self._new("video", np.uint8, (video[0], video[1], video[1]))
            self._body = body and self._new("body", np.float32, body)
        except OSError as error:
            self.abandon()
            raise cannot_write(self.folder, error) from error
        if self._body is not None:
            self._body[:] = np.nan

    def _new(self, kind: str, dtype: Any, shape: Sequence[int]) -> np.memmap:
        path = self._partial / f"{kind}.npy"
        return new_array(path, dtype, (self.epochs, *shape))

    def put_video(
        self,
        epoch: int,
        clip: np.ndarray | None,
        body: np.ndarray | None = None,
        features: Sequence[float] | np.ndarray | None = None,
        marks: Iterable[str] = (),
    ) -> None:
        """What the film shows of an epoch. One without a clip is marked as such.

        Args:
            epoch: from 0.
            clip: uint8 [T, S, S].
            body: [C, L].
            features: in the order of `feature_names`.
            marks: of the epoch, beside those it has.

        Raises:
            ValueError: another shape, or an epoch that the night does not have.
        """
        self.put_marks(epoch, marks)
        for what, array, value in (("video", self._video, clip), ("body", self._body, body)):
            if value is None:
                continue
            expected = None if array is None else array.shape[1:]
            wrong_kind = what == "video" and value.dtype != np.uint8
            if array is None or value.shape != expected or wrong_kind:
                raise ValueError(
                    f"{what} of epoch {epoch} of night {self.name!r} is {value.dtype} "
                    f"{value.shape}, the night was made for {expected}"
                )
            array[epoch] = value
        if features is not None:
            if len(features) != len(self.feature_names):
                raise ValueError(
                    f"epoch {epoch} of night {self.name!r} has {len(features)} features, expected "
                    f"{', '.join(self.feature_names) or 'none'}"
                )
            self.features[epoch] = np.asarray(features, np.float32)
        if clip is not None:
            self.marks[epoch].discard(NO_VIDEO)

    def put_marks(self, epoch: int, marks: Iterable[str]) -> None:
        """Further marks of an epoch.

        Raises:
            ValueError: an epoch that the night does not have, or a mark with a blank in it.
        """
        if not 0 <= epoch < self.epochs:
            raise ValueError(f"night {self.name!r} has epochs 0 to {self.epochs - 1}, got {epoch}")
        names = {str(mark) for mark in marks}
        if wrong := sorted(name for name in names if name.split() != [name]):
            raise ValueError(f"a mark is one word, got {wrong}")
        self.marks[epoch] |= names

    def put_signal(self, kind: str, values: np.ndarray) -> None:
        """A signal of all epochs, float32 [E, c, t], NaN where there is none.

        Raises:
            ValueError: an unknown kind, or another number of epochs.
        """
        if kind not in SIGNALS or values.ndim != 3 or len(values) != self.epochs:
            raise ValueError(
                f"a signal is one of {', '.join(SIGNALS)}, [{self.epochs}, channels, samples], got "
                f"{kind!r} of shape {values.shape}"
            )
        np.save(self._partial / f"{kind}.npy", np.asarray(values, np.float32))

    def finish(
        self,
        *,
        stages: np.ndarray | None = None,
        yasa: np.ndarray | None = None,
        start: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Path:
        """Complete the night; returns its folder.

        Args:
            stages: [E] positions in `STAGES`, -1 where unscored; None for a night without scorer.
            yasa: [E, 5] probabilities in the order of `STAGES`, NaN where not staged.
            start: the beginning of the first epoch, as ISO text.
            facts: further entries of night.json: sources, alignment, channels, options.

        Raises:
            ValueError: stages or probabilities of another shape, or that are none.
            OSError: the folder cannot be written; names it.
        """
        stages = np.full(self.epochs, -1) if stages is None else np.asarray(stages)
        self._check(stages, yasa)
        try:
            if yasa is not None:
                np.save(self._partial / "yasa.npy", np.asarray(yasa, np.float32))
            for array in (self._video, self._body):
                if array is not None:
                    array.flush()
            self._write_table(stages, yasa)
            written = [EPOCHS, *(f"{kind}.npy" for kind in ARRAYS)]
            written = [name for name in written if (self._partial / name).exists()]
            content = {
                **(facts or {}),
                "format": FORMAT,
                "subject": self.subject,
                "night": self.name,
                "epochs": self.epochs,
                "epoch_s": EPOCH_S,
                "start": start,
                "files": {name: of_file(self._partial / name) for name in written},
            }
            write_json(self._partial / FACTS, content)
            self._publish()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        return self.folder

    def _check(self, stages: np.ndarray, yasa: np.ndarray | None) -> None:
        whole = stages.shape == (self.epochs,) and stages.dtype.kind in "iu"
        if not whole or stages.min() < -1 or stages.max() >= len(STAGES):
            raise ValueError(
                f"stages of night {self.name!r} must be {self.epochs} whole numbers from -1 to "
                f"{len(STAGES) - 1}, got {stages.dtype} {stages.shape}"
            )
        if yasa is None:
            return
        if yasa.shape != (self.epochs, len(STAGES)):
            raise ValueError(
                f"yasa of night {self.name!r} must be [{self.epochs}, {len(STAGES)}], got "
                f"{yasa.shape}"
            )
        staged = yasa[~np.isnan(yasa).all(axis=1)]
        right = (staged >= 0).all() and (abs(staged.sum(axis=1) - 1) <= SUM_TOLERANCE).all()
        if not right:
            raise ValueError(
                f"yasa of night {self.name!r} has rows that are no probabilities; every row sums "
                "to 1, or is NaN throughout"
            )

    def _write_table(self, stages: np.ndarray, yasa: np.ndarray | None) -> None:
        with (self._partial / EPOCHS).open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow((*BEFORE, *self.feature_names, *AFTER))
            for epoch, marks in enumerate(self.marks):
                stage = "" if stages[epoch] < 0 else STAGES[stages[epoch]]
                staged = yasa is not None and not np.isnan(yasa[epoch]).any()
                guess = STAGES[int(yasa[epoch].argmax())] if staged and yasa is not None else ""
                numbers = ["" if np.isnan(one) else f"{one:.6g}" for one in self.features[epoch]]
                start_s = epoch * EPOCH_S
                table.writerow((epoch, start_s, stage, guess, *numbers, " ".join(sorted(marks))))

    def _publish(self) -> None:
        self._video = self._body = None  # a mapped file cannot be renamed on every system
        old = partial_name(self.folder)
        with suppress(FileNotFoundError):
            os.replace(self.folder, old)
        os.replace(self._partial, self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def abandon(self) -> None:
        """Remove what is written of a night that is not finished."""
        self._video = self._body = None
        shutil.rmtree(self._partial, ignore_errors=True)

    def __enter__(self) -> NightWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()


def write_night(root: str | Path, record: NightRecord) -> Path:
    """Write a night that is in memory; returns its folder."""
    video, body = record.video, record.body
    with NightWriter(
        root,
        record.name,
        subject=record.subject,
        epochs=len(record.marks),
        video=None if video is None else (video.shape[1], video.shape[2]),
        body=None if body is None else (body.shape[1], body.shape[2]),
        feature_names=record.feature_names,
    ) as writer:
        for epoch, marks in enumerate(record.marks):
            clip = None if video is None or NO_VIDEO in marks else video[epoch]
            signal = None if body is None else body[epoch]
            writer.put_video(epoch, clip, signal, record.features[epoch], marks)
        for kind, values in record.signals.items():
            writer.put_signal(kind, values)
        return writer.finish(
            stages=record.stages, yasa=record.yasa, start=record.start, facts=record.facts
        )
