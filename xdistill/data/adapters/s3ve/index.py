"""The clips of S3VE, from its annotations or a user's table, and their files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from xdistill.data.files import delimited
from xdistill.data.files.clips import find_clip
from xdistill.data.files.json_file import name_of, read_json, segment_of
from xdistill.data.files.names import check_names, find_file, inside
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


def read_annotations(
    root: Path, subject_pattern: str | None = None, *, allow_outside: bool = False
) -> list[Clip]:
    """The clips of the layout "clips", by subject and time.

    Without the key "night_s" clips keep the order of the annotations.

    Args:
        root: the folder of the annotations.
        subject_pattern: regular expression whose first group in a clip's id is its subject.
        allow_outside: take ids and labels that lead out of the root.

    Raises:
        FileNotFoundError: there are no annotations.
        ValueError: malformed annotations, or an unknown label, subset or subject.
    """
    pattern = None if subject_pattern is None else _compiled(subject_pattern)
    path = root / ANNOTATIONS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout 'clips' is {LAYOUTS['clips']}. {OWNER}"
        )
    try:
        content = read_json(path)
        labels = tuple(name_of(label, "a label") for label in content["labels"])
        database = dict(content["database"])
        entries = [
            _annotated(root, clip_id, entry, allow_outside) for clip_id, entry in database.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path} cannot be used ({type(error).__name__}: {error}); expected "
            '{"labels": [...], "database": {id: {"subset": ..., "annotations": {"label": ..., '
            '"segment": [1, n + 1]}}}}'
        ) from error
    clips = [
        clip._replace(
            label=_stage_of(clip.id, label, labels, path),
            subject=_subject_of(clip, pattern, path),
        )
        for clip, label in entries
    ]
    _check_subsets(clips, path)
    timed = sum("night_s" in entry for entry in database.values())
    if 0 < timed < len(clips):
        raise ValueError(
            f"{path}: {timed} of {len(clips)} clips have the key 'night_s', so that the order of "
            "the others is not known; give all of them one, or none"
        )
    return sorted(clips, key=lambda clip: (clip.subject, clip.start_s))


def read_table(path: Path, *, allow_outside: bool = False) -> list[Clip]:
    """The clips of the layout "features", by subject and time.

    Args:
        path: the table.
        allow_outside: take paths that are absolute, or lead out of the table's folder.

    Raises:
        FileNotFoundError: there is no table.
        ValueError: missing columns, an unknown label, an id that is empty or occurs twice, a row
            without subject, or a path that leads elsewhere.
    """
    source = f"the owners: {OWNER}"
    rows = delimited.read_table(path, TABLE_COLUMNS, LAYOUTS["features"], source)
    check_names([row["id"] for row in rows], path)
    clips = [_tabled(path, row, allow_outside) for row in rows]
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


def _annotated(
    root: Path, clip_id: str, entry: Mapping[str, Any], allow_outside: bool
) -> tuple[Clip, str]:
    name_of(clip_id, "an id")
    label = name_of(entry["annotations"]["label"], f"the label of {clip_id}")
    subject, night_s = entry.get("subject"), entry.get("night_s", 0)
    if isinstance(night_s, bool) or not isfinite(float(night_s)):
        raise ValueError(f"night_s of {clip_id} is {night_s!r}, expected seconds")
    video, eeg = (
        inside(root / kind, label, allow_outside=allow_outside) for kind in ("video", "eeg")
    )
    clip = Clip(
        id=clip_id,
        subject="" if subject is None else name_of(subject, f"the subject of {clip_id}"),
        label=-1,
        subset=entry["subset"],
        start_s=float(night_s),
        segment=segment_of(entry["annotations"].get("segment")),
        video=find_clip(video, clip_id, allow_outside=allow_outside),
        eeg=find_file(eeg, clip_id, (".npy",), allow_outside=allow_outside),
    )
    return clip, label


def _tabled(path: Path, row: Mapping[str, str], allow_outside: bool) -> Clip:
    try:
        files = {
            name: inside(path.parent, row[name], allow_outside=allow_outside) if row[name] else None
            for name in ("video", "eeg")
        }
    except ValueError as error:
        raise ValueError(
            f"{path}: clip {row['id']}: {error}, or pass allow_outside=True"
        ) from error
    start_s = _seconds(path, row)
    if not row["subject"].strip():
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


def _seconds(path: Path, row: Mapping[str, str]) -> float:
    try:
        start_s = float(row["start_s"] or 0)
    except ValueError:
        start_s = float("nan")
    if not isfinite(start_s):
        raise ValueError(
            f"{path}: clip {row['id']} has start_s {row['start_s']!r}, expected seconds"
        )
    return start_s


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"subject_pattern {pattern!r} is no regular expression ({error}); its first group is "
            "the subject, as in '(s[0-9]+)_'"
        ) from error


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


def _subject_of(clip: Clip, pattern: re.Pattern[str] | None, path: Path) -> str:
    if pattern is None:
        if not clip.subject:
            raise ValueError(
                f"{path}: clip {clip.id} has no key 'subject', so no split by subjects can be made "
                "or checked; pass subject_pattern, a regular expression whose first group in the "
                "id is the subject"
            )
        return clip.subject
    found = pattern.search(clip.id)
    if found is None or not found.groups() or not found.group(1):
        raise ValueError(
            f"subject_pattern {pattern.pattern!r} finds no subject in the id {clip.id!r}; its "
            "first group must be the subject in every id"
        )
    return found.group(1)


def _check_subsets(clips: Sequence[Clip], path: Path) -> None:
    for clip in clips:
        if clip.subset not in SUBSETS:
            raise ValueError(
                f"{path}: clip {clip.id} has subset {clip.subset!r}, expected one of "
                f"{', '.join(SUBSETS)}"
            )
