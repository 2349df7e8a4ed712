"""The paired dataset of the clips that a data set's lists name.

A clip's sound is a file or the track of a film; its frames are a folder of JPEG files, an HDF5 file
or a film.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from xdistill.data.files.audio_visual.clip import AVClip
from xdistill.data.files.audio_visual.folders import AVFolders, first_file, rows_present
from xdistill.data.files.audio_visual.format import AVFormat
from xdistill.data.files.clips import ClipColumn, find_clip
from xdistill.data.files.file_column import FileColumn
from xdistill.data.files.sound import find_sound, read_log_mel
from xdistill.data.paired import PairedDataset
from xdistill.numerics import GIB


def audio_visual_dataset(
    root: Path,
    clips: Sequence[AVClip],
    classes: Sequence[str],
    folders: AVFolders,
    form: AVFormat,
    *,
    allow_missing: bool | None,
) -> PairedDataset:
    """All clips whose files are there, as one dataset; its ids are those of the clips.

    Missing files are treated as in `xdistill.data.files.audio_visual.folders.rows_present`.

    - ``audio`` float32 [mels, 1 + 100·seconds]: logarithm of the power in mel bands.
    - ``video`` float32 [channels, frames, size, size] from 0 to 1, decoded when a row is read.

    Raises:
        FileNotFoundError: a clip lacks a file and `allow_missing` is not True, or all clips do.
    """
    finders = {"audio": (find_sound, folders.sound), "video": (find_clip, folders.video)}
    found: dict[str, list[Path | None]] = {
        name: [first_file(root, where, find, clip.file) for clip in clips]
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


def parts_of(dataset: PairedDataset, clips: Sequence[AVClip]) -> list[int]:
    """The published part of each row of a dataset of some of the clips."""
    part = {clip.id: clip.part for clip in clips}
    return [part[one] for one in dataset.ids]


def _columns(paths: dict[str, list[Path]], form: AVFormat) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "audio" in paths:
        read = partial(
            read_log_mel,
            mels=form.mels,
            rate_hz=form.rate_hz,
            seconds=form.seconds,
            max_lost=form.max_lost,
        )
        columns["audio"] = FileColumn(paths["audio"], read, keep_bytes=form.keep_gib * GIB)
    if "video" in paths:
        columns["video"] = ClipColumn(
            paths["video"],
            [None] * len(paths["video"]),
            keep_bytes=form.keep_gib * GIB,
            frames=form.frames,
            size=form.size,
            channels=form.channels,
            max_lost=form.max_lost,
        )
    return columns
