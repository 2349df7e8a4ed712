"""ActivityNet and VGGSound in CCL's layout: annotations in JSON, frames, features of the sound.

Chen et al., "Distilling audio-visual knowledge by compositional contrastive learning", CVPR 2021,
distil a PANNs CNN14 teacher of sound into a student of video. UCF51, their third set, has an
adapter of its own (`xdistill.data.adapters.ucf51`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from xdistill.data.cards import DatasetCard
from xdistill.data.files import panns
from xdistill.data.files.audio_visual.clip import AVClip
from xdistill.data.files.audio_visual.folders import AVFolders, rows_present
from xdistill.data.files.clips import ClipColumn, find_clip
from xdistill.data.files.json_file import name_of, read_json, segment_of
from xdistill.data.files.names import check_names, find_file, inside
from xdistill.data.options import check_frames, check_modalities, check_share
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import TEST, TRAIN, VAL, check_split, published_or_clean
from xdistill.data.splits import Splits
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

MODALITIES = ("audio_features", "video")
VIDEO_FOLDERS = ("hdf5data", "jpg", ".")
CITATION = (
    "Chen, Xian, Koepke, Shan, Akata, Distilling Audio-Visual Knowledge by Compositional "
    "Contrastive Learning, CVPR 2021; "
)
ACTIVITYNET = DatasetCard(
    name="activitynet",
    pairs=(("audio_features", "video"),),
    classes=200,
    size="about 20,000 films, of which those with sound",
    licence="none stated for the films, from YouTube; the annotations: MIT",
    citation=CITATION + "Caba Heilbron et al., ActivityNet, CVPR 2015",
    source_url="https://github.com/activitynet/ActivityNet",
    files=("activitynet*.json",),
)
VGGSOUND = DatasetCard(
    name="vggsound_ccl",
    pairs=(("audio_features", "video"),),
    classes=309,
    size="about 200,000 films of ten seconds",
    licence="the lists: CC BY 4.0; films from YouTube",
    citation=CITATION + "Chen, Xie, Vedaldi, Zisserman, VGGSound, ICASSP 2020",
    source_url="https://www.robots.ox.ac.uk/~vgg/data/vggsound/",
    files=("vggsound*.json",),
)
LAYOUT = (
    '<root>/{name}*.json ({{"labels": [...], "database": {{id: {{"subset": ..., "annotations": '
    '{{"label": ..., "segment": [1, n + 1]}}}}}}}}), <root>/jpg/v_<id>/image_00001.jpg (or '
    "hdf5data/v_<id>.hdf5) and <root>/" + panns.FOLDERS[0] + "/v_<id>.npy"
)
PARTS = {"training": TRAIN, "validation": VAL, "testing": TEST}


class Annotated(NamedTuple):
    """An entry of the annotations: the clip, and its segment where one is given."""

    clip: AVClip
    segment: tuple[int, int] | None


@register_dataset(ACTIVITYNET)
def activitynet(
    root: str | Path,
    *,
    modalities: Sequence[str] = MODALITIES,
    split: Literal["published", "clean"] = "clean",
    allow_missing: bool = False,
    frames: int = 16,
    size: int = 112,
    channels: int = 3,
    max_lost: float = 0.0,
    keep_gib: float = 1.0,
    seed: int = 0,
) -> Splits:
    """ActivityNet in CCL's layout, as three paired datasets.

    - ``audio_features`` float32 [512] of PANNs CNN14; those of several windows are averaged.
    - ``video`` float32 [channels, frames, size, size] from 0 to 1, decoded when a row is read.

    Test labels are not published, so the subset "validation" is the test part unless an entry is
    "testing". A row's group is its film, which has one entry.

    Args:
        root: holds one annotation file ``activitynet*.json``, ``jpg`` or ``hdf5data``, and
            ``audiocnn14embed512_features``; files may be in a folder of their class.
        modalities: of "audio_features" and "video"; files of one that is not named are not needed.
        split: "clean" holds out 15 % of the training films for validation. "published" trains on
            all, and its validation part *is* the test part, of which a warning is given.
        allow_missing: leave out films without files, with a warning; films vanish from YouTube.
        frames: frames of a clip, spread evenly.
        size: side of a frame in pixels.
        channels: 1 for grey, 3 for RGB.
        max_lost: the share of a film that may be missing from what its container promises; a
            warning says how much is, more is an error.
        keep_gib: rows of a modality stay in memory if all of them fit into this many GiB.
        seed: decides which films are held out.

    Raises:
        FileNotFoundError: annotations or files are missing; the message says where to get them.
        ValueError: an option is out of range, or the annotations are malformed.
    """
    return _read(
        ACTIVITYNET,
        root,
        modalities,
        split,
        allow_missing,
        frames,
        size,
        channels,
        max_lost,
        keep_gib,
        seed,
    )


@register_dataset(VGGSOUND)
def vggsound_ccl(
    root: str | Path,
    *,
    modalities: Sequence[str] = MODALITIES,
    split: Literal["published", "clean"] = "clean",
    allow_missing: bool = False,
    frames: int = 16,
    size: int = 112,
    channels: int = 3,
    max_lost: float = 0.0,
    keep_gib: float = 1.0,
    seed: int = 0,
) -> Splits:
    """VGGSound in CCL's layout: as `activitynet`, with ``vggsound*.json``."""
    return _read(
        VGGSOUND,
        root,
        modalities,
        split,
        allow_missing,
        frames,
        size,
        channels,
        max_lost,
        keep_gib,
        seed,
    )


def _read(
    card: DatasetCard,
    root: str | Path,
    modalities: Sequence[str],
    split: str,
    allow_missing: bool,
    frames: int,
    size: int,
    channels: int,
    max_lost: float,
    keep_gib: float,
    seed: int,
) -> Splits:
    modalities = check_modalities(modalities, MODALITIES)
    check_split(split)
    check_frames(frames, size, channels)
    check_share(max_lost)
    root = Path(root).expanduser()
    folders = AVFolders(
        sound=panns.FOLDERS,
        video=VIDEO_FOLDERS,
        layout=LAYOUT.format(name=card.name.split("_")[0]),
        source=f"{card.source_url}, CCL's features at {panns.SOURCE}",
    )
    layout = f"the layout is {folders.layout}, distributed at {folders.source}"
    entries, classes = read_annotations(root, card, layout)
    finders = {"audio_features": _features_of, "video": _video_of}
    found = {name: [finders[name](root, one.clip) for one in entries] for name in modalities}
    clips = [one.clip for one in entries]
    here = rows_present(clips, found, folders, allow_missing=allow_missing)
    kept = [entries[at] for at in here]
    paths = {name: [p for at in here if (p := files[at])] for name, files in found.items()}
    columns: dict[str, Any] = {}
    if "audio_features" in paths:
        columns["audio_features"] = panns.panns_column(paths["audio_features"], keep_gib)
    if "video" in paths:
        columns["video"] = ClipColumn(
            paths["video"],
            [one.segment for one in kept],
            keep_bytes=keep_gib * GIB,
            frames=frames,
            size=size,
            channels=channels,
            max_lost=max_lost,
        )
    dataset = PairedDataset(
        columns,
        [classes.index(one.clip.label) for one in kept],
        classes=classes,
        ids=[one.clip.id for one in kept],
    )
    return published_or_clean(dataset, [one.clip.part for one in kept], card.name, split, seed)


def read_annotations(
    root: Path, card: DatasetCard, layout: str
) -> tuple[list[Annotated], tuple[str, ...]]:
    """The entries of the one annotation file, in the order of their names, and the classes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are several, or the file is malformed.
    """
    files = sorted(root.glob(card.files[0]))
    if not files:
        raise FileNotFoundError(f"{root / card.files[0]} is missing; {layout}")
    if len(files) > 1:
        raise ValueError(
            f"{root} holds the annotations {', '.join(one.name for one in files)}, expected one "
            "file; move the others elsewhere"
        )
    path = files[0]
    try:
        content = read_json(path)
        classes = tuple(name_of(label, "a label") for label in content["labels"])
        check_names(classes, "the list of labels")
        entries = [_entry(name, entry, classes) for name, entry in content["database"].items()]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path} cannot be used ({type(error).__name__}: {error}); {layout}"
        ) from error
    if not any(one.clip.part == TEST for one in entries):
        tested = {VAL: TEST}
        entries = [
            one._replace(clip=one.clip._replace(part=tested.get(one.clip.part, one.clip.part)))
            for one in entries
        ]
    return sorted(entries, key=lambda one: one.clip.id), classes


def _entry(name: str, entry: Any, classes: tuple[str, ...]) -> Annotated:
    note = entry["annotations"]
    label, subset = name_of(note["label"], f"the label of {name}"), entry["subset"]
    if label not in classes:
        raise ValueError(f"{name} has the label {label!r}, which is not in the list of labels")
    if subset not in PARTS:
        raise ValueError(f"{name} has the subset {subset!r}, expected one of {', '.join(PARTS)}")
    clip = AVClip(name_of(name, "an id"), label, name, name, PARTS[subset])
    return Annotated(clip, segment_of(note.get("segment")))


def _names(clip: AVClip) -> tuple[str, ...]:
    return (clip.file,) if clip.file.startswith("v_") else (f"v_{clip.file}", clip.file)


def _features_of(root: Path, clip: AVClip) -> Path | None:
    places = [
        inside(root, folder, inner) for folder in panns.FOLDERS for inner in (".", clip.label)
    ]
    files = (find_file(place, name, (".npy",)) for place in places for name in _names(clip))
    return next((path for path in files if path is not None), None)


def _video_of(root: Path, clip: AVClip) -> Path | None:
    places = [
        inside(root, folder, inner) for folder in VIDEO_FOLDERS for inner in (".", clip.label)
    ]
    found = (find_clip(place, name) for place in places for name in _names(clip))
    return next((path for path in found if path is not None), None)
