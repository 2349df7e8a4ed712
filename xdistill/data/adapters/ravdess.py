"""RAVDESS: eight emotions, spoken by 24 actors who are heard and seen.

Livingstone, Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE
13(5), 2018. Cross-modal papers read arrays or features made from it, and split rows at random, so
that their actors are in every part.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import MappedColumn, open_array, read_array
from xdistill.data.files.audio_frames import (
    TRAIN,
    AVClip,
    AVFolders,
    AVFormat,
    audio_frames,
    read_lines,
)
from xdistill.data.files.clips import ArrayColumn
from xdistill.data.files.row_lists import listed_rows, random_rows
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits, fold_groups, split_groups
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


@register_dataset("ravdess", CARD)
def ravdess(
    root: str | Path,
    *,
    layout: Literal["films", "features", "arrays"] = "films",
    split: Literal["published", "clean"] = "clean",
    folds: int = 6,
    fold: int = 0,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """RAVDESS's speech as three paired datasets, in one of three layouts.

    - "films", as its owners publish it: ``audio`` and ``video`` as in
      `files.audio_frames.audio_frames`, from films with sound.
    - "features" (as MFH reads it): ``audio`` [rows, columns], the stored array, and ``image``
      [3, size, size] from 0 to 1.
    - "arrays" (as MST reads it), memory-mapped: ``audio`` [15, 156] and ``video`` [3, 15, H, W].

    A row's group is its actor.

    Args:
        root: the folder.
        layout: how it is laid out.
        split: "clean" deals the actors into folds (`fold_groups`): no actor is in two parts.
            "published" is a random split of the rows, 60, 20 and 20 %, as papers draw it: every
            actor is in every part, and the groups of the rows are the rows themselves. "arrays"
            take column ``fold`` of ``RAVDESS_indices.csv`` where it is there.
        folds: number of folds of "clean".
        fold: which one is for testing, from 0.
        seed: of the published split.
        **options: of `files.audio_frames.AVFormat`, for "films" and (size) "features".

    Raises:
        FileNotFoundError: files are missing; says where they come from.
        ValueError: an option out of range, a name that is none of RAVDESS's, damaged files, or
            "arrays" without actors and split="clean".
    """
    if split not in ("published", "clean") or layout not in LAYOUTS:
        raise ValueError(
            f"split is 'published' or 'clean' and layout one of {', '.join(LAYOUTS)}, got "
            f"{split!r} and {layout!r}"
        )
    form = AVFormat(**options)
    root = Path(root).expanduser()
    if layout == "films":
        dataset = _films(root, form)
    elif layout == "features":
        dataset = _features(root, form)
    else:
        dataset = _arrays(root, form, need_actors=split == "clean")
    if split == "clean":
        actors = sorted(set(dataset.group.tolist()))
        return split_groups(dataset, **fold_groups(actors, folds=folds, fold=fold))
    listed = root / ORDER
    if layout == "arrays" and listed.is_file():
        return listed_rows(dataset, listed, fold)
    return random_rows(dataset, seed)


def _missing(root: Path, layout: str) -> str:
    return (
        f"the layout {layout!r} is {LAYOUTS[layout]}; the films are distributed at "
        f"{CARD.source_url}, for other layouts pass layout="
    )


def _films(root: Path, form: AVFormat) -> PairedDataset:
    films = sorted(root.glob("**/Actor_[0-9][0-9]/01-01-*.mp4"))
    if not films:
        raise FileNotFoundError(
            f"{root / 'Actor_01'}/01-01-01-01-01-01-01.mp4 and all its like are missing; "
            f"{_missing(root, 'films')}"
        )
    clips = [
        AVClip(path.stem, *_emotion_and_actor(path.stem, path), path.stem, TRAIN) for path in films
    ]
    places = tuple(dict.fromkeys(str(path.parent) for path in films))
    folders = AVFolders(places, places, LAYOUTS["films"], CARD.source_url)
    return audio_frames(root, clips, EMOTIONS, folders, form, allow_missing=False)


def _features(root: Path, form: AVFormat) -> PairedDataset:
    tables = sorted(root.glob("*.csv"))
    if not tables:
        raise FileNotFoundError(f"{root}/*.csv is missing; {_missing(root, 'features')}")
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
            sounds.append(root / "aud_features" / f"{sound}.npy")
            images.append(root / "vid_features" / f"{image}.jpg")
    lost = [path for path in (*sounds, *images) if not path.is_file()]
    if lost:
        raise FileNotFoundError(
            f"{len(lost)} files are missing (first: {lost[0]}); {_missing(root, 'features')}"
        )
    columns: dict[str, Any] = {}
    keep = form.keep_gib * 2**30
    if "audio" in form.modalities:
        columns["audio"] = ArrayColumn(sounds, _read_map, keep_bytes=keep)
    if "video" in form.modalities:
        columns["image"] = ArrayColumn(
            images, partial(_read_image, size=form.size), keep_bytes=keep
        )
    return PairedDataset(
        columns,
        [label for _, label, _ in rows],
        classes=EMOTIONS,
        group=[int(actor) for _, _, actor in rows],
        ids=[name for name, _, _ in rows],
    )


def _read_map(path: Path) -> Float[Tensor, "c t"]:
    return torch.from_numpy(read_array(path, (None, None)))


def _read_image(path: Path, size: int) -> Float[Tensor, "3 h w"]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((size, size)), np.float32)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as an image ({type(error).__name__}: {error}); copy it again"
        ) from error
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255


def _arrays(root: Path, form: AVFormat, *, need_actors: bool) -> PairedDataset:
    source = _missing(root, "arrays")
    labels = np.asarray(open_array(root / "label_data.npy", source)).reshape(-1)
    if not np.isin(labels, np.arange(len(EMOTIONS))).all():
        raise ValueError(
            f"{root / 'label_data.npy'} has labels {np.unique(labels)[:12].tolist()}, expected 0 "
            "to 7"
        )
    actors = None
    if (root / "actor_data.npy").is_file():
        actors = np.asarray(open_array(root / "actor_data.npy", source)).reshape(-1)
    elif need_actors:
        raise ValueError(
            f"{root} has no actor_data.npy (N,), so nobody can tell which rows share an actor; "
            "write it when the arrays are made, or pass split='published', which mixes actors"
        )
    columns: dict[str, Any] = {}
    for name in form.modalities:
        path = root / f"{name}_data.npy"
        shape = open_array(path, source).shape[1:]
        columns[name] = MappedColumn(path, shape, source)
    lengths = {name: len(column) for name, column in columns.items()}
    lengths |= {"label": len(labels)} | ({} if actors is None else {"actor": len(actors)})
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the arrays of {root} have {lengths} rows, expected as many in each")
    frames_last = {"video": partial(torch.transpose, dim0=0, dim1=1)}
    return PairedDataset(
        columns,
        torch.from_numpy(labels.astype(np.int64)),
        classes=EMOTIONS,
        group=None if actors is None else torch.from_numpy(actors.astype(np.int64)),
        transforms={name: f for name, f in frames_last.items() if name in columns},
    )


def _emotion_and_actor(name: str, where: Path) -> tuple[str, str]:
    found = NAME.search(name)
    if found is None:
        raise ValueError(
            f"{where} names {name!r}, which is none of RAVDESS's names, as in "
            "01-01-06-01-02-01-12 (the third number is the emotion, the last the actor)"
        )
    return EMOTIONS[int(found[3]) - 1], found[7]
