"""The clips of S3VE, from its annotations or a user's table, and their files."""

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
from xdistill.data.sleep_stages import SYNONYMS, stage_of

SUBSETS = ("training", "validation", "testing")
TABLE = "s3ve.csv"
TABLE_COLUMNS = ("id", "subject", "label", "video", "eeg", "start_s")
OWNER = "S3VE is released on request by the authors of arXiv 2208.05814"
LAYOUTS = {
    "clips": (
        f"<root>/{ANNOTATIONS}, <root>/video/<label>/<id>.hdf5 (or <id>/image_00001.jpg, or "
        "<id>.mp4) and <root>/eeg/<label>/<id>.npy"
    ),
    "features": (
        f"<root>/{TABLE} with the columns {', '.join(TABLE_COLUMNS)}, where video and eeg are "
        "paths of .npy files"
    ),
}


class Clip(NamedTuple):
    """One row of the dataset.

    ``label`` is a position in `STAGES`; ``video`` and ``eeg`` are paths, None where there is no
    file.
    """

    id: str
    subject: str
    label: int
    subset: str
    start_s: float
    segment: tuple[int, int] | None
    video: Path | None
    eeg: Path | None


def read_annotations(root: Path, subject_pattern: str | None = None) -> list[Clip]:
    """The clips of the layout "clips", by subject and time.

    A clip without the key "night_s" keeps the order of the annotations.

    Raises:
        FileNotFoundError: there are no annotations.
        ValueError: malformed annotations, or an unknown label, subset or subject.
    """
    path = root / ANNOTATIONS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout 'clips' is {LAYOUTS['clips']}. {OWNER}"
        )
    try:
        content = json.loads(path.read_text())
        labels, database = tuple(map(str, content["labels"])), dict(content["database"])
        entries = [_annotated(root, clip_id, entry) for clip_id, entry in database.items()]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be used ({type(error).__name__}: {error}); expected "
            '{"labels": [...], "database": {id: {"subset": ..., "annotations": {"label": ..., '
            '"segment": [1, n + 1]}}}}'
        ) from error
    clips = [
        clip._replace(
            label=_stage_of(clip.id, label, labels, path),
            subject=_subject_of(clip, subject_pattern, path),
        )
        for clip, label in entries
    ]
    _check_subsets(clips, path)
    return sorted(clips, key=lambda clip: (clip.subject, clip.start_s))


def read_table(path: Path) -> list[Clip]:
    """The clips of the layout "features", by subject and time.

    Raises:
        FileNotFoundError: there is no table.
        ValueError: missing columns, an unknown label, or a row without subject or time.
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
    return sorted(clips, key=lambda clip: (clip.subject, clip.start_s))


def check_files(clips: Sequence[Clip], layout: str, modalities: Sequence[str]) -> None:
    """Counts missing files before anything is read: video is required, EEG may be missing.

    Args:
        clips: all of them.
        layout: of `LAYOUTS`.
        modalities: those that a row has; files of others are not looked for.

    Raises:
        FileNotFoundError: clips without video.
        ValueError: there is no clip.
    """
    if not clips:
        raise ValueError(f"the dataset holds no clip; the layout {layout!r} is {LAYOUTS[layout]}")
    no_video = [clip.id for clip in clips if clip.video is None]
    if no_video and {"video", "video_features"} & set(modalities):
        raise FileNotFoundError(
            f"{len(no_video)} of {len(clips)} clips have no video file (first: {no_video[0]}); the "
            f"layout {layout!r} is {LAYOUTS[layout]}. {OWNER}"
        )
    no_eeg = [clip.id for clip in clips if clip.eeg is None]
    if no_eeg and {"eeg", "eeg_features"} & set(modalities):
        warnings.warn(
            f"{len(no_eeg)} of {len(clips)} clips have no EEG file (first: {no_eeg[0]}); they "
            "train without the teacher",
            stacklevel=3,
        )


def _annotated(root: Path, clip_id: str, entry: Mapping[str, Any]) -> tuple[Clip, str]:
    label = str(entry["annotations"]["label"])
    segment = entry["annotations"].get("segment")
    eeg = root / "eeg" / label / f"{clip_id}.npy"
    clip = Clip(
        id=clip_id,
        subject=str(entry.get("subject", "")),
        label=-1,
        subset=entry["subset"],
        start_s=float(entry.get("night_s", 0)),
        segment=None if segment is None else (int(segment[0]), int(segment[1])),
        video=find_clip(root / "video" / label, clip_id),
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
        label=_stage_of(row["id"], row["label"], (row["label"],), path),
        subset="",
        start_s=start_s,
        segment=None,
        **{name: file if file and file.is_file() else None for name, file in files.items()},
    )


def _stage_of(clip_id: str, label: str, labels: Sequence[str], path: Path) -> int:
    try:
        stage = stage_of(label) if label in labels else None
    except ValueError:
        stage = None
    if stage is None:
        expected = ", ".join(labels if label not in labels else SYNONYMS)
        raise ValueError(
            f"{path}: clip {clip_id} has label {label!r}, expected one of {expected}; correct it "
            "or leave the clip out"
        )
    return stage


def _subject_of(clip: Clip, pattern: str | None, path: Path) -> str:
    if pattern is None:
        if not clip.subject:
            raise ValueError(
                f"{path}: clip {clip.id} has no key 'subject', so no split by subjects can be made "
                "or checked; pass subject_pattern, a regular expression whose first group in the "
                "id is the subject"
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
