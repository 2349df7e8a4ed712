"""Clips of sound and frames that a list names: shared by the data sets of films from the web.

A clip's sound is a file or the track of a film, its frames are a folder of JPEG files, an HDF5 file
or a film; either may lie in one of several folders, as different authors' scripts leave them.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from xdistill.data.files.clips import ArrayColumn, ClipColumn, find_clip
from xdistill.data.files.sound import find_sound, read_log_mel
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import VAL_SHARE, Splits
from xdistill.numerics import GIB

TRAIN, VAL, TEST = range(3)


class AVClip(NamedTuple):
    """One clip.

    ``group`` is what a split must not cut: the actor, or the film that a clip was cut from.
    ``file`` is its name without suffix, ``part`` `TRAIN`, `VAL` or `TEST` of the published split.
    """

    id: str
    label: str
    group: str
    file: str
    part: int


@dataclass(frozen=True)
class AVFormat:
    """What a row holds.

    Attributes:
        modalities: of "audio" and "video"; the other one's files are not looked at.
        seconds: length of the sound; cut at its end or filled up with silence.
        rate_hz: samples a second before the mel bands.
        mels: number of mel bands.
        frames: frames of a clip, spread evenly.
        size: side of a frame in pixels.
        channels: 1 for grey, 3 for RGB.
        keep_gib: what is read stays in memory if all of it fits into so many GiB each.
    """

    modalities: Sequence[str] = ("audio", "video")
    seconds: float = 3.0
    rate_hz: int = 16_000
    mels: int = 64
    frames: int = 4
    size: int = 112
    channels: int = 3
    keep_gib: float = 1.0

    def __post_init__(self):
        names = self.modalities
        if not names or isinstance(names, str) or set(names) - {"audio", "video"}:
            raise ValueError(f"modalities is a list of 'audio' and 'video', got {names!r}")
        whole = (self.rate_hz, self.mels, self.frames, self.size)
        if min(whole) < 1 or self.seconds <= 0 or self.channels not in (1, 3):
            raise ValueError(
                f"rate_hz, mels, frames and size are 1 or more, seconds is above 0 and channels 1 "
                f"or 3, got {whole}, {self.seconds} and {self.channels}"
            )


@dataclass(frozen=True)
class AVFolders:
    """Where the files of a data set may lie, below its root.

    Attributes:
        sound: folders of sound, or of films.
        video: folders of frames, or of films.
        layout: in words, for messages.
        source: where its owners distribute it.
    """

    sound: Sequence[str]
    video: Sequence[str]
    layout: str
    source: str


def audio_frames(
    root: Path,
    clips: Sequence[AVClip],
    classes: Sequence[str],
    folders: AVFolders,
    form: AVFormat,
    *,
    allow_missing: bool,
) -> PairedDataset:
    """All clips whose files are there, as one dataset whose ids are the clips'.

    - ``audio`` float32 [mels, 1 + 100·seconds]: logarithm of the power in mel bands.
    - ``video`` float32 [channels, frames, size, size] from 0 to 1, decoded when a row is read.

    Raises:
        FileNotFoundError: clips without a file, unless they may be missing; or none at all.
    """
    finders = {"audio": (find_sound, folders.sound), "video": (find_clip, folders.video)}
    found: dict[str, list[Path | None]] = {
        name: [_first(root, where, find, clip.file) for clip in clips]
        for name, (find, where) in finders.items()
        if name in form.modalities
    }
    here = rows_present(clips, found, folders, allow_missing=allow_missing)
    kept = [clips[at] for at in here]
    paths = {name: [p for at in here if (p := files[at])] for name, files in found.items()}
    groups = {name: at for at, name in enumerate(sorted({clip.group for clip in kept}))}
    return PairedDataset(
        _columns(paths, form),
        [classes.index(clip.label) for clip in kept],
        classes=classes,
        group=[groups[clip.group] for clip in kept],
        ids=[clip.id for clip in kept],
    )


def rows_present(
    clips: Sequence[AVClip],
    found: Mapping[str, Sequence[Path | None]],
    folders: AVFolders,
    *,
    allow_missing: bool,
) -> list[int]:
    """Positions of the clips that have a file of every modality.

    Args:
        clips: those of the lists.
        found: by modality the file of each clip, None where there is none.
        folders: for the message.
        allow_missing: leave the others out, with a warning.

    Raises:
        FileNotFoundError: clips without a file, unless they may be missing; or none at all.
    """
    here = [at for at in range(len(clips)) if all(files[at] for files in found.values())]
    lost = [clips[at] for at in sorted(set(range(len(clips))) - set(here))]
    if lost and (not allow_missing or not here):
        advice = "; allow_missing=True leaves such clips out" if here else ""
        raise FileNotFoundError(
            f"{len(lost)} of {len(clips)} clips lack {' or '.join(found)} (first: {lost[0].file}); "
            f"the layout is {folders.layout}, distributed at {folders.source}{advice}"
        )
    if lost:
        warnings.warn(
            f"{len(lost)} of {len(clips)} clips are left out, for they lack {' or '.join(found)} "
            f"(first: {lost[0].file}); results differ from those on all clips",
            stacklevel=5,
        )
    return here


def _first(root: Path, folders: Sequence[str], find: Any, name: str) -> Path | None:
    """The file of that name in the first folder that has one; "{}" in a folder is the name."""
    for folder in folders:
        path = find(root / folder.replace("{}", name), name)
        if path is not None:
            return path
    return None


def _columns(paths: dict[str, list[Path]], form: AVFormat) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "audio" in paths:
        read = partial(read_log_mel, mels=form.mels, rate_hz=form.rate_hz, seconds=form.seconds)
        columns["audio"] = ArrayColumn(paths["audio"], read, keep_bytes=form.keep_gib * GIB)
    if "video" in paths:
        columns["video"] = ClipColumn(
            paths["video"],
            [None] * len(paths["video"]),
            keep_bytes=form.keep_gib * GIB,
            frames=form.frames,
            size=form.size,
            channels=form.channels,
        )
    return columns


def check_split(split: str) -> None:
    """Refuse what is no name of a split.

    Raises:
        ValueError: says which there are.
    """
    if split not in ("published", "clean"):
        raise ValueError(f"split is 'published' or 'clean', got {split!r}")


def split_clips(
    dataset: PairedDataset, clips: Sequence[AVClip], name: str, split: str, seed: int = 0
) -> Splits:
    """The published split, or the clean one; see the next two."""
    if split == "published":
        return published_parts(dataset, clips, name)
    return clean_parts(dataset, clips, name, seed)


def published_parts(dataset: PairedDataset, clips: Sequence[AVClip], name: str) -> Splits:
    """The published split. Where it has no validation part, that is the test part, with a warning.

    Raises:
        ValueError: a part without clips.
    """
    part = {clip.id: clip.part for clip in clips}
    rows = [[at for at, one in enumerate(dataset.ids) if part[one] == k] for k in range(3)]
    if not rows[VAL]:
        warn_no_validation(name)
        rows[VAL] = rows[TEST]
    return _parts(dataset, rows, name)


def warn_no_validation(name: str) -> None:
    """Say that a published split chooses on its test part."""
    warnings.warn(
        f"the published split of {name} has no validation part: val is the test part, so a model "
        "that is chosen on it looks too good; split='clean' holds training rows out",
        stacklevel=4,
    )


def clean_parts(
    dataset: PairedDataset, clips: Sequence[AVClip], name: str, seed: int = 0
) -> Splits:
    """The published test part; no group is in two parts, and validation is never the test part.

    Training clips whose group is tested, or is a published validation group, are left out. Where no
    validation part is published, 15 % of the training groups are, at random.

    Raises:
        ValueError: a part without clips.
    """
    part = {clip.id: clip.part for clip in clips}
    group = dataset.group.tolist()
    of = [{group[at] for at, one in enumerate(dataset.ids) if part[one] == k} for k in range(3)]
    val, train = of[VAL] - of[TEST], of[TRAIN] - of[TEST] - of[VAL]
    if not of[VAL]:
        free = torch.tensor(sorted(train), dtype=torch.int64)
        order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))
        val = set(free[order[: max(1, round(VAL_SHARE * len(free)))]].tolist())
        train -= val
    allowed = (train, val, of[TEST])
    source = (TRAIN, VAL if of[VAL] else TRAIN, TEST)
    rows = [
        [
            at
            for at, one in enumerate(dataset.ids)
            if group[at] in allowed[k] and part[one] == source[k]
        ]
        for k in range(3)
    ]
    return _parts(dataset, rows, name)


def _parts(dataset: PairedDataset, rows: list[list[int]], name: str) -> Splits:
    for part, chosen in zip(Splits._fields, rows, strict=True):
        if not chosen:
            raise ValueError(f"the split of {name} leaves no clip for {part}; check its lists")
    return Splits(*(dataset.subset(chosen) for chosen in rows))


def read_lines(path: Path, layout: str, source: str, delimiter: str = ",") -> list[list[str]]:
    """The fields of each line of a list that is not empty.

    Raises:
        FileNotFoundError: the list is missing; says where it comes from.
        ValueError: it is no text, or empty.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout is {layout}, distributed at {source}"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file, delimiter=delimiter) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no list ({error}); copy it again") from error
    if not lines:
        raise ValueError(f"{path} is empty; copy it again")
    return lines


def check_unique(clips: Sequence[AVClip], name: str) -> None:
    """Refuse a clip that is listed twice.

    Raises:
        ValueError: names it.
    """
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise ValueError(f"the lists of {name} name {clip.id} more than once; copy them again")
        seen.add(clip.id)
