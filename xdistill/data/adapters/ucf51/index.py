"""The clips of UCF51, from the official lists or CCL's annotations, and their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from xdistill.data.files import panns
from xdistill.data.files.clips import find_clip
from xdistill.data.files.json_file import name_of, read_json, segment_of

CLASSES = tuple(
    """
    ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BasketballDunk
    BlowDryHair BlowingCandles BodyWeightSquats Bowling BoxingPunchingBag BoxingSpeedBag
    BrushingTeeth CliffDiving CricketBowling CricketShot CuttingInKitchen FieldHockeyPenalty
    FloorGymnastics FrisbeeCatch FrontCrawl Haircut HammerThrow Hammering HandstandPushups
    HandstandWalking HeadMassage IceDancing Knitting LongJump MoppingFloor ParallelBars PlayingCello
    PlayingDaf PlayingDhol PlayingFlute PlayingSitar Rafting ShavingBeard Shotput SkyDiving
    SoccerPenalty StillRings SumoWrestling Surfing TableTennisShot Typing UnevenBars WallPushups
    WritingOnBoard
    """.split()
)
"""The classes of UCF101 whose clips have sound."""
SILENT = frozenset(
    [f"v_BasketballDunk_g15_c{take:02d}" for take in range(4, 8)]
    + [f"v_HandStandPushups_g14_c{take:02d}" for take in range(1, 5)]
)
"""Clips of those classes that are in the lists but that CCL has no sound of."""
LIST_FOLDERS = (".", "ucfTrainTestlist")
VIDEO_FOLDERS = ("hdf5data", "jpg", "UCF-101")
CRCV = "https://www.crcv.ucf.edu/data/UCF101.php"


class Clip(NamedTuple):
    """One clip.

    Attributes:
        label: its class.
        id: its name.
        video: number of the video that it was cut from.
        test: whether it is in the test list.
        segment: its first frame and the one after the last, counted from 1, where given.
    """

    label: str
    id: str
    video: int
    test: bool
    segment: tuple[int, int] | None = None


def read_index(root: Path, fold: int) -> tuple[list[Clip], tuple[str, ...]]:
    """The clips of the 51 classes in the order of their names, and the classes that occur.

    The official lists are read if both are there, otherwise ``ucf51_0<fold>.json``.

    Raises:
        FileNotFoundError: neither the lists nor the annotations are there.
        ValueError: a line or an entry names no clip of its class, or a clip is in both parts.
    """
    names = [f"{part}list0{fold}.txt" for part in ("train", "test")]
    lists = next(
        (folder for place in LIST_FOLDERS if _all_there(folder := root / place, names)), None
    )
    annotations = root / f"ucf51_0{fold}.json"
    if lists is not None:
        clips = _read_lists(lists, names)
    elif annotations.is_file():
        clips = _read_annotations(annotations)
    else:
        raise FileNotFoundError(
            f"{root / names[0]} and {root / names[1]} are missing, and so is {annotations.name}; "
            f"the lists are distributed at {CRCV} (they may be in ucfTrainTestlist)"
        )
    clips = sorted((clip for clip in clips if clip.label in CLASSES), key=lambda clip: clip[:2])
    twice = [one.id for one, other in pairwise(clips) if one.id == other.id]
    if twice:
        raise ValueError(f"{lists or annotations} names {twice[0]} more than once; copy it again")
    present = {clip.label for clip in clips}
    return clips, tuple(label for label in CLASSES if label in present)


def audio_files(root: Path, clips: Sequence[Clip]) -> list[Path]:
    """A file of features for each clip.

    Raises:
        FileNotFoundError: there is no folder of features, or a clip has no file.
    """
    layout = f"<root>/{panns.FOLDERS[0]}/<Class>/<clip>.npy, distributed packed at {panns.SOURCE}"
    folder = _folder(root, panns.FOLDERS, f"the layout is {layout}")
    files = [folder / clip.label / f"{clip.id}.npy" for clip in clips]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(clips)} clips have no features of sound (first: "
            f"{missing[0]}); the layout is {layout}"
        )
    return files


def video_files(root: Path, clips: Sequence[Clip]) -> list[Path]:
    """A file, or a folder of frames, for each clip.

    Raises:
        FileNotFoundError: there is no folder of videos, or a clip has no video.
    """
    layout = (
        f"<root>/{VIDEO_FOLDERS[0]}/<Class>/<clip>.hdf5, or <clip>/image_00001.jpg, or <clip>.avi, "
        f"in one of {', '.join(VIDEO_FOLDERS)}; the videos are distributed at {CRCV}"
    )
    folder = _folder(root, VIDEO_FOLDERS, f"the layout is {layout}")
    files = {clip: find_clip(folder / clip.label, clip.id) for clip in clips}
    missing = [clip for clip in clips if files[clip] is None]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(clips)} clips have no video (first: "
            f"{folder / missing[0].label / missing[0].id}); the layout is {layout}"
        )
    return [path for path in files.values() if path is not None]


def _all_there(folder: Path, names: Sequence[str]) -> bool:
    return all((folder / name).is_file() for name in names)


def _folder(root: Path, names: Sequence[str], layout: str) -> Path:
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"{root / names[0]} is missing; {layout}")
    return found


def _read_lists(folder: Path, names: Sequence[str]) -> list[Clip]:
    return [
        _clip(path, *_class_and_name(path, line), test=bool(at))
        for at, path in enumerate(folder / name for name in names)
        for line in _text(path).splitlines()
        if line.strip()
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error}); save it as UTF-8, or copy it again"
        ) from error


def _class_and_name(path: Path, line: str) -> tuple[str, str]:
    found = re.fullmatch(r"(\w+)/(\w+)\.avi( \d+)?", line.strip())
    if found is None:
        raise ValueError(
            f"{path} has the line {line!r}, expected one like "
            "'Archery/v_Archery_g08_c01.avi 3' (with the number in the training list only)"
        )
    return found[1], found[2]


def _read_annotations(path: Path) -> list[Clip]:
    try:
        database = dict(read_json(path)["database"])
        entries = [(name, *_annotated(entry)) for name, entry in database.items()]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path} cannot be used ({type(error).__name__}: {error}); expected "
            '{"labels": [...], "database": {clip: {"subset": "training" or "validation", '
            '"annotations": {"label": ..., "segment": [1, n + 1]}}}}'
        ) from error
    return [
        _clip(path, label, name, test=test, segment=segment)
        for name, label, test, segment in entries
    ]


def _annotated(entry: dict[str, Any]) -> tuple[str, bool, tuple[int, int] | None]:
    if entry["subset"] not in ("training", "validation"):
        raise ValueError(f"subset {entry['subset']!r}")
    return (
        name_of(entry["annotations"]["label"], "a label"),
        entry["subset"] == "validation",  # CCL's name for the test list
        segment_of(entry["annotations"].get("segment")),
    )


def _clip(
    path: Path, label: str, name: str, *, test: bool, segment: tuple[int, int] | None = None
) -> Clip:
    found = re.fullmatch(r"v_(\w+)_g(\d+)_c\d+", name)
    # Clips of the class HandstandPushups are spelt HandStandPushups.
    if found is None or found[1].lower() != label.lower():
        raise ValueError(
            f"{path} names the clip {name!r} of {label}, expected a name like v_{label}_g08_c01"
        )
    return Clip(label, name, int(found[2]), test, segment)
