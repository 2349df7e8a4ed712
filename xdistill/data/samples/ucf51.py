"""A few clips in UCF51's files: a coloured box that moves, and features of the sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdistill.data.adapters.ucf51.adapter import MODALITIES
from xdistill.data.adapters.ucf51.index import VIDEO_FOLDERS
from xdistill.data.files.clips import write_clip
from xdistill.data.files.panns import FOLDERS, WIDTH

SAMPLE_CLASSES = ("Archery", "HandstandPushups", "PlayingCello", "Surfing")
TEST_VIDEOS, TRAIN_VIDEOS = (1, 2), (8, 9, 23, 24, 25)


def write_ucf51_sample(
    root: str | Path,
    *,
    classes: Sequence[str] = SAMPLE_CLASSES,
    modalities: Sequence[str] = MODALITIES,
    takes: int = 2,
    frames: int = 20,
    seed: int = 0,
) -> Path:
    """Writes lists of split 1, features of the sound, and clips as HDF5, 56 of them by default.

    A class is a direction in which the box moves and a direction among the features. Clips of one
    video share colours and an offset of the features, so a split must keep videos apart.

    Args:
        root: the folder; made if it is not there.
        classes: of the 51.
        modalities: "audio_features", "video" or both.
        takes: clips of each of the seven videos of a class.
        frames: number of frames of a clip, 60 pixels high and 80 wide.
        seed: everything follows from it.
    """
    root = Path(root)
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True, exist_ok=True)
    train, test = [], []
    for number, label in enumerate(classes, start=1):
        for video in (*TEST_VIDEOS, *TRAIN_VIDEOS):
            for take in range(1, takes + 1):
                spelt = label.replace("dst", "dSt")  # as the files of that one class are
                name = f"v_{spelt}_g{video:02d}_c{take:02d}"
                line = f"{label}/{name}.avi"
                (test if video in TEST_VIDEOS else train).append(
                    line if video in TEST_VIDEOS else f"{line} {number}"
                )
                key = [seed, number, video]
                if "audio_features" in modalities:
                    path = root / FOLDERS[0] / label / f"{name}.npy"
                    _save(path, _sound(key, take))
                if "video" in modalities:
                    path = root / VIDEO_FOLDERS[0] / label / f"{name}.hdf5"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_clip(path, _film(key, take, frames))
    (lists / "trainlist01.txt").write_text("\n".join(train) + "\n")
    (lists / "testlist01.txt").write_text("\n".join(test) + "\n")
    named = [f"{number} {label}\n" for number, label in enumerate(classes, start=1)]
    (lists / "classInd.txt").write_text("".join(named))
    return root


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def _sound(key: list[int], take: int) -> np.ndarray:
    """512 features, none negative, as after CNN14's ReLU."""
    seed, number, video = key
    of_class = np.random.default_rng([seed, number]).normal(0, 1, WIDTH)
    of_video = np.random.default_rng([seed, number, video]).normal(0, 1, WIDTH)
    noise = np.random.default_rng([seed, number, video, take]).normal(0, 1, WIDTH)
    return np.maximum(of_class + 0.7 * of_video + noise, 0).astype(np.float32)


def _film(key: list[int], take: int, frames: int) -> np.ndarray:
    """Frames [t, 60, 80, 3]."""
    colour = np.random.default_rng(key).integers(0, 256, 3)
    rng = np.random.default_rng([*key, take])
    angle = 2.4 * key[1]  # the golden angle: no two classes move in the same direction
    start = np.array([30, 40]) + rng.normal(0, 4, 2)
    film = np.tile(colour, (frames, 60, 80, 1))
    for at in range(frames):
        way = 20 * (at / max(frames - 1, 1) - 0.5)
        down, across = (start + way * np.array([np.sin(angle), np.cos(angle)])).round().astype(int)
        film[at, down - 5 : down + 5, across - 5 : across + 5] = 255 - colour
    return (film + rng.normal(0, 4, film.shape)).clip(0, 255).astype(np.uint8)
