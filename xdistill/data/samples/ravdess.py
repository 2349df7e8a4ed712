"""A few actors in RAVDESS's films, and in the features and arrays that papers made from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.adapters.ravdess import EMOTIONS
from xdistill.data.samples.clip_files import write_film, write_frames

WINDOWS, FEATURES = 15, 156


def _name(emotion: int, repetition: int, actor: int) -> str:
    return f"01-01-{emotion + 1:02d}-01-01-{repetition:02d}-{actor:02d}"


def write_ravdess_films(root: str | Path, *, actors: int = 6, seed: int = 0) -> Path:
    """Writes a film with sound of half a second for each emotion and actor, as PyAV encodes it."""
    root = Path(root)
    for actor in range(1, actors + 1):
        for emotion in range(len(EMOTIONS)):
            path = root / f"Actor_{actor:02d}" / f"{_name(emotion, 1, actor)}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_film(path, emotion, np.random.default_rng([seed, actor, emotion]))
    return root


def write_ravdess_features(root: str | Path, *, actors: int = 6, seed: int = 0) -> Path:
    """Writes ``ravdess.csv``, ``aud_features`` and ``vid_features``."""
    root = Path(root)
    (root / "aud_features").mkdir(parents=True, exist_ok=True)
    lines = ["aud,img,label"]
    centres = np.random.default_rng(seed).normal(0, 1, (len(EMOTIONS), FEATURES))
    for actor in range(1, actors + 1):
        for emotion in range(len(EMOTIONS)):
            name = _name(emotion, 1, actor)
            rng = np.random.default_rng([seed, actor, emotion])
            windows = centres[emotion] + rng.normal(0, 1, (WINDOWS, FEATURES))
            np.save(root / "aud_features" / f"{name}.npy", windows.astype(np.float32))
            write_frames(root / "frames", emotion, rng, count=1)
            (root / "vid_features").mkdir(exist_ok=True)
            (root / "frames" / "00001.jpg").replace(root / "vid_features" / f"{name}.jpg")
            lines.append(f"{name}.npy,{name}.jpg,{emotion}")
    (root / "frames").rmdir()
    (root / "ravdess.csv").write_text("\n".join(lines) + "\n")
    return root


def write_ravdess_arrays(
    root: str | Path, *, actors: int = 6, side: int = 16, seed: int = 0, with_actors: bool = True
) -> Path:
    """Writes ``{video,audio,label,actor}_data.npy``, frames of ``side`` pixels."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    label = np.tile(np.arange(len(EMOTIONS)), actors)
    centres = rng.normal(0, 1, (len(EMOTIONS), FEATURES))
    audio = centres[label][:, None] + rng.normal(0, 1, (len(label), WINDOWS, FEATURES))
    video = rng.integers(0, 60, (len(label), WINDOWS, 3, side, side))
    for row, emotion in enumerate(label):
        video[row, :, emotion % 3, 2 * emotion : 2 * emotion + 2] += 150
    np.save(root / "audio_data.npy", audio.astype(np.float32))
    np.save(root / "video_data.npy", video.astype(np.uint8))
    np.save(root / "label_data.npy", label)
    if with_actors:
        np.save(root / "actor_data.npy", np.arange(1, actors + 1).repeat(len(EMOTIONS)))
    return root
