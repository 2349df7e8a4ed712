"""RAVDESS: eight emotions in the voices and faces of 24 actors.

Livingstone, Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE
13(5), 2018. Cross-modal papers read arrays or features made from it and split the rows at random,
so that every part has all actors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import open_array, read_array, read_labels
from xdistill.data.files.audio_visual.clip import AVClip
from xdistill.data.files.audio_visual.dataset import audio_visual_dataset
from xdistill.data.files.audio_visual.folders import AVFolders
from xdistill.data.files.audio_visual.format import AVFormat
from xdistill.data.files.delimited import read_lines
from xdistill.data.files.file_column import FileColumn
from xdistill.data.files.images import IMAGE_SUFFIXES, open_image
from xdistill.data.files.mapped_column import MappedColumn
from xdistill.data.files.names import check_names, find_file, has_suffix
from xdistill.data.files.row_orders import read_order
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import TRAIN, check_split, split_in_order
from xdistill.data.splits import Splits, fold_groups, split_groups
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
ORDER = "RAVDESS_indices.csv"
CARD = DatasetCard(
    name="ravdess",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=len(EMOTIONS),
    size="1,440 clips of speech by 24 actors",
    licence="CC BY-NC-SA 4.0",
    citation="Livingstone, Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song, "
    "PLoS ONE 13(5):e0196391, 2018",
    source_url="https://zenodo.org/records/1188976",
    files=("**/Actor_*/01-01-*.mp4",),
)
LAYOUTS = {
    "films": "<root>/Actor_NN/01-01-EE-II-SS-RR-NN.mp4, or below Video_Speech_Actor_NN",
    "features": "<root>/*.csv (aud,img,label), <root>/aud_features/<aud>.npy and "
    "<root>/vid_features/<img>.jpg, with RAVDESS's names",
    "arrays": "<root>/{video,audio,label}_data.npy, (N, 15, 3, H, W), (N, 15, 156) and (N,), and "
    "actor_data.npy (N,)",
}
MODALITIES = {
    "films": ("audio", "video"),
    "features": ("audio", "image"),
    "arrays": ("audio", "video"),
}
OPTIONS = {"features": {"size", "keep_gib"}, "arrays": set()}
"""The options of `AVFormat` that a layout has; "films" has all."""


@register_dataset(CARD)
def ravdess(
    root: str | Path,
    *,
    layout: Literal["films", "features", "arrays"] = "films",
    modalities: Sequence[str] | None = None,
    split: Literal["published", "clean"] = "clean",
    folds: int = 6,
    fold: int = 0,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """RAVDESS's speech as three paired datasets, in one of three layouts.

    - "films", as its owners publish it: ``audio`` and ``video`` as in
      `xdistill.data.files.audio_visual.dataset`, from films with sound.
    - "features", as in MFH's code: ``audio`` [rows, columns], the stored array, and ``image``
      [3, size, size] from 0 to 1.
    - "arrays", as in MST-Distill's code, memory-mapped: ``audio`` [15, 156] and ``video``
      [3, 15, H, W].

    A row's group is its actor.

    Args:
        root: the folder.
        layout: which of the three.
        modalities: of the two columns of the layout; both when None.
        split: "clean" divides the actors into folds (`fold_groups`): no actor is in two parts.
            "published" is a random split of the rows, 60, 20 and 20 %, as in the papers: every
            actor is in every part, and each row is a group of its own. For "arrays", column
            ``fold`` of ``RAVDESS_indices.csv`` gives the order of the rows if that file is there.
        folds: number of folds of "clean".
        fold: which one is for testing, from 0.
        seed: decides the published split.
        **options: of `xdistill.data.files.audio_visual.format.AVFormat`: all of them for "films",
            size and keep_gib for "features", none for "arrays".

    Raises:
        FileNotFoundError: files are missing; the message says where to get them.
        ValueError: an option is out of range or not one of the layout's, a file name is not one of
            RAVDESS's, a file is damaged, or "arrays" has no actors for split="clean".
    """
    check_split(split)
    names = _check_layout(layout, modalities, options)
    root = Path(root).expanduser()
    if layout == "films":
        dataset = _films(root, AVFormat(modalities=names, **options))
    elif layout == "features":
        dataset = _features(root, names, AVFormat(**options))
    else:
        dataset = _arrays(root, names, need_actors=split == "clean")
    if split == "clean":
        actors = sorted(set(dataset.group.tolist()))
        return split_groups(dataset, **fold_groups(actors, folds=folds, fold=fold))
    if layout == "arrays" and (root / ORDER).is_file():
        return split_in_order(dataset, read_order(root / ORDER, fold, len(dataset)))
    generator = torch.Generator().manual_seed(seed)
    return split_in_order(dataset, torch.randperm(len(dataset), generator=generator))


def _check_layout(
    layout: str, modalities: Sequence[str] | None, options: dict[str, Any]
) -> tuple[str, ...]:
    """The modalities that a row has."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout is one of {', '.join(LAYOUTS)}, got {layout!r}")
    taken = OPTIONS.get(layout, set(options))
    if set(options) - taken:
        raise ValueError(
            f"the layout {layout!r} has no option {', '.join(sorted(set(options) - taken))}; it "
            f"has {', '.join(sorted(taken)) or 'none'}: leave the others out"
        )
    known = MODALITIES[layout]
    return known if modalities is None else check_modalities(modalities, known)


def _missing(layout: str) -> str:
    return (
        f"the layout {layout!r} is {LAYOUTS[layout]}; the films are distributed at "
        f"{CARD.source_url}, for other layouts pass layout="
    )


def _films(root: Path, form: AVFormat) -> PairedDataset:
    films = sorted(root.glob("**/Actor_[0-9][0-9]/01-01-*"))
    films = [path for path in films if has_suffix(path, (".mp4",))]
    if not films:
        raise FileNotFoundError(
            f"{root / 'Actor_01' / '01-01-01-01-01-01-01.mp4'} and all other films are missing; "
            f"{_missing('films')}"
        )
    clips = [
        AVClip(path.stem, *_emotion_and_actor(path.stem, path), path.stem, TRAIN) for path in films
    ]
    places = tuple(dict.fromkeys(str(path.parent) for path in films))
    folders = AVFolders(places, places, LAYOUTS["films"], CARD.source_url)
    return audio_visual_dataset(root, clips, EMOTIONS, folders, form, allow_missing=None)


def _features(root: Path, names: Sequence[str], form: AVFormat) -> PairedDataset:
    tables = sorted(root.glob("*.csv"))
    if not tables:
        raise FileNotFoundError(f"{root}/*.csv is missing; {_missing('features')}")
    rows, sounds, images = [], [], []
    for table in tables:
        for line in read_lines(table, LAYOUTS["features"], CARD.source_url):
            if line[:3] == ["aud", "img", "label"]:
                continue
            if len(line) < 3 or not line[-1].strip().isdigit() or int(line[-1]) not in range(8):
                raise ValueError(
                    f"{table} has the line {','.join(line)!r}, expected aud,img,label with a label "
                    "from 0 to 7"
                )
            sound, image = Path(line[-3].strip()).stem, Path(line[-2].strip()).stem
            rows.append((sound, int(line[-1]), _emotion_and_actor(sound, table)[1]))
            sounds.append(_stored(root / "aud_features", sound, (".npy",)))
            images.append(_stored(root / "vid_features", image, IMAGE_SUFFIXES))
    check_names([name for name, _, _ in rows], f"the lists of {root}")
    lost = [path for path in (*sounds, *images) if not path.is_file()]
    if lost:
        raise FileNotFoundError(
            f"{len(lost)} files are missing (first: {lost[0]}); {_missing('features')}"
        )
    columns: dict[str, Any] = {}
    keep = form.keep_gib * GIB
    if "audio" in names:
        columns["audio"] = FileColumn(sounds, _read_map, keep_bytes=keep)
    if "image" in names:
        columns["image"] = FileColumn(images, partial(_read_image, size=form.size), keep_bytes=keep)
    return PairedDataset(
        columns,
        [label for _, label, _ in rows],
        classes=EMOTIONS,
        group=[int(actor) for _, _, actor in rows],
        ids=[name for name, _, _ in rows],
    )


def _stored(folder: Path, name: str, suffixes: Sequence[str]) -> Path:
    return find_file(folder, name, suffixes) or folder / (name + suffixes[0])


def _read_map(path: Path) -> Float[Tensor, "c t"]:
    return torch.from_numpy(read_array(path, (None, None)))


def _read_image(path: Path, size: int) -> Float[Tensor, "3 h w"]:
    pixels = np.asarray(open_image(path).resize((size, size)), np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255


def _arrays(root: Path, names: Sequence[str], *, need_actors: bool) -> PairedDataset:
    source = _missing("arrays")
    labels = read_labels(root / "label_data.npy", source)
    if not np.isin(labels, np.arange(len(EMOTIONS))).all():
        raise ValueError(
            f"{root / 'label_data.npy'} has labels {np.unique(labels)[:12].tolist()}, expected 0 "
            "to 7; copy it again"
        )
    actors = None
    if (root / "actor_data.npy").is_file():
        actors = read_labels(root / "actor_data.npy", source)
    elif need_actors:
        raise ValueError(
            f"{root} has no actor_data.npy (N,), so it is not known which rows share an actor; "
            "write that file when you make the arrays, or pass split='published', which mixes "
            "actors"
        )
    columns: dict[str, Any] = {}
    for name in names:
        path = root / f"{name}_data.npy"
        shape = open_array(path, source).shape[1:]
        columns[name] = MappedColumn(path, shape, source)
    lengths = {name: len(column) for name, column in columns.items()}
    lengths |= {"label": len(labels)} | ({} if actors is None else {"actor": len(actors)})
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the arrays of {root} have {lengths} rows, expected as many in each")
    channels_first = {"video": partial(torch.transpose, dim0=0, dim1=1)}
    return PairedDataset(
        columns,
        torch.from_numpy(labels),
        classes=EMOTIONS,
        group=None if actors is None else torch.from_numpy(actors),
        transforms={name: f for name, f in channels_first.items() if name in columns},
    )


def _emotion_and_actor(name: str, where: Path) -> tuple[str, str]:
    found = NAME.search(name)
    if found is None:
        raise ValueError(
            f"{where} has the name {name!r}, expected one like 01-01-06-01-02-01-12, as in RAVDESS "
            "(the third number is the emotion, the last the actor)"
        )
    return EMOTIONS[int(found[3]) - 1], found[7]
