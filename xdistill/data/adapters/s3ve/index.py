"""Which clips S3VE has: its annotations and a user's table become rows with files."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xdistill.data.files.clips import find_clip
from xdistill.data.simulation.sample import ANNOTATIONS

STAGES = ("W", "N1", "N2", "N3", "R")
SUBSETS = ("training", "validation", "testing")
TABLE = "s3ve.csv"
TABLE_COLUMNS = ("id", "subject", "label", "video", "eeg", "start_s")
OWNER = "S3VE is released on request by the authors of arXiv 2208.05814"
LAYOUTS = {
    "clips": (
        f"<root>/{ANNOTATIONS}, <root>/video/<label>/<id>.hdf5 (or <id>/image_00001.jpg, or "
        "<id>.mp4) and <root>/eeg/<label>/<id>.npy"
    ),
    "features": f"<root>/{TABLE} with the columns {', '.join(TABLE_COLUMNS)}; paths are to .npy",
}


class Clip(NamedTuple):
    """One row of the dataset; ``video`` and ``eeg`` are paths, None where there is no file."""

    id: str
    subject: str
    label: int
    subset: str
    start_s: float
    segment: tuple[int, int] | None
    video: Path | None
    eeg: Path | None


def read_annotations(
    root: Path, subject_pattern: str | None = None
) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips of the layout "clips", by subject and time, and the names of the classes.

    A clip without the key "night_s" keeps the order of the annotations.

    Raises:
        FileNotFoundError: no annotations, or clips without video.
        ValueError: annotations that are no such JSON, or an unknown label, subset or subject.
    """
    path = root / ANNOTATIONS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout 'clips' is {LAYOUTS['clips']}. {OWNER}"
        )
    try:
        content = json.loads(path.read_text())
        classes, database = tuple(content["labels"]), dict(content["database"])
        entries = [_annotated(root, clip_id, entry) for clip_id, entry in database.items()]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be used ({type(error).__name__}: {error}); expected "
            '{"labels": [...], "database": {id: {"subset": ..., "annotations": {"label": ..., '
            '"segment": [1, n + 1]}}}}'
        ) from error
    clips = [
        clip._replace(
            label=_class_of(clip.id, label, classes, path),
            subject=_subject_of(clip, subject_pattern, path),
        )
        for clip, label in entries
    ]
    _check_subsets(clips, path)
    _check_files(clips, "clips")
    return sorted(clips, key=lambda clip: (clip.subject, clip.start_s)), classes


def read_table(path: Path) -> list[Clip]:
    """The clips of the layout "features", by subject and time.

    Raises:
        FileNotFoundError: no table, or rows whose video features are missing.
        ValueError: missing columns, or an unknown label.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout 'features' is {LAYOUTS['features']}. {OWNER}"
        )
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = [name for name in TABLE_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{path} has the columns {reader.fieldnames}, it lacks {missing}; expected "
            f"{', '.join(TABLE_COLUMNS)}"
        )
    clips = [_tabled(path, row) for row in rows]
    _check_files(clips, "features")
    return sorted(clips, key=lambda clip: (clip.subject, clip.start_s))


def _annotated(root: Path, clip_id: str, entry: Mapping[str, Any]) -> tuple[Clip, str]:
    label = entry["annotations"]["label"]
    segment = entry["annotations"].get("segment")
    eeg = root / "eeg" / str(label) / f"{clip_id}.npy"
    clip = Clip(
        id=clip_id,
        subject=str(entry.get("subject", "")),
        label=-1,
        subset=entry["subset"],
        start_s=float(entry.get("night_s", 0)),
        segment=None if segment is None else (int(segment[0]), int(segment[1])),
        video=find_clip(root / "video" / str(label), clip_id),
        eeg=eeg if eeg.is_file() else None,
    )
    return clip, label


def _tabled(path: Path, row: Mapping[str, str]) -> Clip:
    files = {name: path.parent / row[name] if row[name] else None for name in ("video", "eeg")}
    try:
        start_s = float(row["start_s"] or 0)
    except ValueError as error:
        raise ValueError(
            f"{path}: clip {row['id']} has start_s {row['start_s']!r}, expected seconds"
        ) from error
    if not row["subject"]:
        raise ValueError(f"{path}: clip {row['id']} has no subject; the split needs one")
    return Clip(
        id=row["id"],
        subject=row["subject"],
        label=_class_of(row["id"], row["label"], STAGES, path),
        subset="",
        start_s=start_s,
        segment=None,
        **{name: file if file and file.is_file() else None for name, file in files.items()},
    )


def _class_of(clip_id: str, label: str, classes: Sequence[str], path: Path) -> int:
    if label not in classes:
        raise ValueError(
            f"{path}: clip {clip_id} has label {label!r}, expected one of {', '.join(classes)}; "
            "correct it or leave the clip out"
        )
    return classes.index(label)


def _subject_of(clip: Clip, pattern: str | None, path: Path) -> str:
    if pattern is None:
        if not clip.subject:
            raise ValueError(
                f"{path}: clip {clip.id} has no key 'subject', so a split by subjects cannot be "
                "made or checked; pass subject_pattern, a regular expression whose first group in "
                "the id is the subject"
            )
        return clip.subject
    found = re.search(pattern, clip.id)
    if found is None or not found.groups() or not found.group(1):
        raise ValueError(
            f"subject_pattern {pattern!r} finds no subject in the id {clip.id!r}; its first group "
            "must be the subject in every id"
        )
    return found.group(1)


def _check_subsets(clips: Sequence[Clip], path: Path) -> None:
    for clip in clips:
        if clip.subset not in SUBSETS:
            raise ValueError(
                f"{path}: clip {clip.id} has subset {clip.subset!r}, expected one of "
                f"{', '.join(SUBSETS)}"
            )


def _check_files(clips: Sequence[Clip], layout: str) -> None:
    """Counts missing files before anything is read: video is needed, EEG only wanted."""
    if not clips:
        raise ValueError(f"the dataset holds no clip; the layout {layout!r} is {LAYOUTS[layout]}")
    no_video = [clip.id for clip in clips if clip.video is None]
    if no_video:
        raise FileNotFoundError(
            f"{len(no_video)} of {len(clips)} clips have no video file (first: {no_video[0]}); the "
            f"layout {layout!r} is {LAYOUTS[layout]}. {OWNER}"
        )
    no_eeg = [clip.id for clip in clips if clip.eeg is None]
    if no_eeg:
        warnings.warn(
            f"{len(no_eeg)} of {len(clips)} clips have no EEG file (first: {no_eeg[0]}); they "
            "train without the teacher",
            stacklevel=4,
        )
