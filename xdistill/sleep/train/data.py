"""The rows of prepared nights, as one kind of student and one kind of teacher need them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.adapters.nights import (
    Judge,
    NightRecord,
    list_nights,
    night_and_epoch,
    nights,
    read_night,
    stages_of,
)
from xdistill.data.augment import flip_and_shift
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.encoders.body import joined_row
from xdistill.sleep.model import READS, video_options
from xdistill.sleep.video_options import VideoOptions

Sees = Literal["video", "body", "video_body"]
ENCODERS: dict[str, str] = {
    "video": "video_breathing",
    "body": "body_small",
    "video_body": "video_body",
}
"""The student's encoder, by what it sees, where none is named."""


class NightData(NamedTuple):
    """What a run is made from.

    Attributes:
        splits: rows that the student can see, with its modality as one column.
        truth: int64 [E] by night: the stages that held-out sleepers are judged by.
        subject: of each night.
        video: how the films were prepared.
        training_signals: the body's features over the training nights.
        shape: of a clip [T, S] and of the body's signals [C, L], where the nights have them.
        notes: what the reader of a run has to know of the rows.
    """

    splits: Splits
    truth: dict[str, np.ndarray]
    subject: dict[str, str]
    video: VideoOptions
    training_signals: dict[str, Any]
    shape: dict[str, int]
    notes: tuple[str, ...]


class JoinedColumn(Sequence):
    """Clips and signals of the body as the flat rows that `VideoBody` takes."""

    def __init__(self, clips: Any, signals: Any):
        self.clips, self.signals = clips, signals

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> Float[Tensor, "1 n"]:
        return joined_row(self.clips[row], self.signals[row])


def night_data(root: Path, sees: Sees, teacher: str, judge: Judge, **options: Any) -> NightData:
    """Read a prepared folder.

    Args:
        root: the folder.
        sees: what the student sees; also the name of its column.
        teacher: "yasa" for YASA's probabilities, or anything else for a network that reads EEG.
        judge: whose stages sleepers are judged by.
        **options: further ones of the data set "nights".

    Raises:
        ValueError: nights that do not fit together, or of which the student sees too few epochs.
    """
    wanted = READS[sees]
    modalities = wanted if teacher == "yasa" else (*wanted, "eeg")
    whole = nights(
        root,
        modalities=modalities,
        sees=wanted,
        judge=judge,
        teacher="yasa" if teacher == "yasa" else None,
        check=True,
        **options,
    )
    records = [read_night(root, name, check=False) for name in list_nights(root)]
    notes, parts = [], []
    for name, part in whole._asdict().items():
        seen, note = _seen(part, wanted, name)
        notes += note
        parts.append(_one_column(seen, sees))
    splits = Splits(*parts)
    clip = {"video": flip_and_shift, "body": None, "video_body": None}[sees]
    shape = _shape(records)
    if sees == "video_body":
        clip = partial(flip_joined, frames=shape["frames"], size=shape["size"])
    if clip is not None:
        splits = splits._replace(train=splits.train.replace(transforms={sees: clip}))
    video, differing = film_options(records)
    trained = {night_and_epoch(row)[0] for row in splits.train.ids}
    return NightData(
        splits,
        {record.name: stages_of(record, judge) for record in records},
        {record.name: record.subject for record in records},
        video,
        training_signals([record for record in records if record.name in trained]),
        shape,
        (*notes, *differing),
    )


def _seen(part: PairedDataset, wanted: Sequence[str], name: str) -> tuple[PairedDataset, list[str]]:
    """The rows that have all that the student sees, and a note on the others."""
    has = torch.stack([part.rows_with(one) for one in wanted]).all(dim=0)
    if not bool(has.any()):
        raise ValueError(
            f"no epoch for {name} has {' and '.join(wanted)}; prepare the nights with their films"
        )
    missing = int((~has).sum())
    if not missing:
        return part, []
    what = " and ".join(wanted)
    return part.subset(has), [f"{name}: {missing} of {len(part)} epochs have no {what}"]


def _one_column(part: PairedDataset, sees: Sees) -> PairedDataset:
    others = {name: column for name, column in part.inputs.items() if name not in READS[sees]}
    column = part.inputs.get(sees)
    if sees == "video_body":
        column = JoinedColumn(part.inputs["video"], part.inputs["body"])
    valid = {name: mask for name, mask in part.valid.items() if name not in READS[sees]}
    return part.replace(inputs={sees: column, **others}, valid=valid)


def flip_joined(row: Float[Tensor, "1 n"], frames: int, size: int) -> Float[Tensor, "1 n"]:
    """`flip_and_shift` of the clip in a row of `VideoBody`."""
    pixels = frames * size * size
    clip = flip_and_shift(row[0, :pixels].reshape(1, frames, size, size))
    return torch.cat([clip.flatten(), row[0, pixels:]])[None]


def _shape(records: Sequence[NightRecord]) -> dict[str, int]:
    """Of clips and of the body's signals; the data set has refused nights of other shapes."""
    found = {}
    for record in records:
        if record.video is not None:
            found |= {"frames": record.video.shape[1], "size": record.video.shape[2]}
        if record.body is not None:
            found |= {
                "body_channels": record.body.shape[1],
                "body_samples": record.body.shape[2],
            }
    return found


def film_options(records: Sequence[NightRecord]) -> tuple[VideoOptions, list[str]]:
    """How all films were prepared, and a note where the bed lies elsewhere in some.

    Raises:
        ValueError: they were not prepared alike, or it is not known how.
    """
    filmed = [record for record in records if record.facts.get("video") is not None]
    if not filmed:
        raise ValueError("no night was prepared with a film, which the student is to see")
    kept = [dict(record.facts["video"]) for record in filmed]
    regions = [one.pop("region", None) for one in kept]
    for record, one in zip(filmed, kept, strict=True):
        if one != kept[0]:
            raise ValueError(
                f"the films of the nights {filmed[0].name} and {record.name} were prepared in "
                f"different ways ({kept[0]} and {one}), so that nobody knows what the student "
                "sees; prepare all nights with the same options"
            )
    if all(region == regions[0] for region in regions):
        return video_options({**kept[0], "region": regions[0]}), []
    note = "the bed's region differs between films, so a new film needs a region of its own"
    return video_options({**kept[0], "region": None}), [note]


def training_signals(records: Sequence[NightRecord]) -> dict[str, Any]:
    """The body's features over nights: each night's mean over its epochs is one observation."""
    names = records[0].feature_names if records else ()
    kept = [record for record in records if record.feature_names == names]
    rows = [[_mean(record.features[:, at]) for at in range(len(names))] for record in kept]
    means = np.array(rows, dtype=float).reshape(-1, len(names))
    columns = [column[np.isfinite(column)] for column in means.T]
    whole = means[np.isfinite(means).all(axis=1)]
    correlation = None
    if len(whole) > 2 and len(names) > 1 and (whole.std(axis=0) > 0).all():
        correlation = np.corrcoef(whole.T).tolist()
    return {
        "names": list(names),
        "mean": [float(one.mean()) if len(one) else None for one in columns],
        "sd": [float(one.std(ddof=1)) if len(one) > 1 else 0.0 for one in columns],
        "correlation": correlation,
        "nights": len(kept),
        "film_hz": _slowest(records),
    }


def _slowest(records: Sequence[NightRecord]) -> float | None:
    """The lowest frame rate of the nights' films; None where none is known."""
    films = [record.facts.get("film") or {} for record in records]
    return min((one["rate_hz"] for one in films if "rate_hz" in one), default=None)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
