"""A few recordings and images in the files of FSDD and MNIST: pairs of tones, and bars."""

from __future__ import annotations

import gzip
import struct
import wave
from pathlib import Path

import numpy as np

SPEAKERS = ("ada", "ben", "cleo")
INDICES = (0, 1, 5, 10, 11, 12)  # in the published split two are for testing, one is for validation


def write_av_digits_sample(
    root: str | Path, *, images_per_digit: int = 20, packed: bool = True, seed: int = 0
) -> Path:
    """Writes ``fsdd/recordings`` (180 wav files) and ``mnist`` (four idx files) below ``root``.

    A digit is two tones at a speaker's pitch, and a bar at the digit's angle, both with noise.

    Args:
        root: the folder; made if it is not there.
        images_per_digit: number of images in each part of MNIST.
        packed: write idx files as .gz.
        seed: everything follows from it.
    """
    root = Path(root)
    rng = np.random.default_rng(seed)
    recordings, mnist = root / "fsdd" / "recordings", root / "mnist"
    recordings.mkdir(parents=True, exist_ok=True)
    mnist.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        for pitch, speaker in enumerate(SPEAKERS):
            for index in INDICES:
                write_wav(recordings / f"{digit}_{speaker}_{index}.wav", _say(digit, pitch, rng))
    for part in ("train", "t10k"):
        labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), images_per_digit))
        images = np.stack([_draw(digit, rng) for digit in labels.tolist()])
        _write_idx(mnist / f"{part}-images-idx3-ubyte", images, packed)
        _write_idx(mnist / f"{part}-labels-idx1-ubyte", labels, packed)
    return root


def write_wav(path: Path, sound: np.ndarray, *, sample_rate_hz: int = 8000) -> None:
    """Writes one channel from -1 to 1 as 16-bit samples, as in FSDD."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes((sound * 32767).round().astype("<i2").tobytes())


def _say(digit: int, pitch: int, rng: np.random.Generator) -> np.ndarray:
    time_s = np.arange(rng.integers(2800, 3600)) / 8000
    tones = [350 + 120 * (digit % 5), 1200 + 500 * (digit // 5)]
    sound = sum(np.sin(2 * np.pi * tone * (1 + 0.02 * pitch) * time_s) for tone in tones)
    return 0.3 * sound + rng.normal(0, 0.02, len(time_s))


def _draw(digit: int, rng: np.random.Generator) -> np.ndarray:
    angle = np.pi * digit / 10 + rng.normal(0, 0.05)
    down, across = np.mgrid[-14:14, -14:14] + rng.normal(0, 1, (2, 1, 1))
    distance = np.abs(down * np.cos(angle) - across * np.sin(angle))
    inside = np.hypot(down, across) < 11
    ink = 255 * np.clip(2.5 - distance, 0, 1) * inside + rng.normal(0, 10, (28, 28))
    return ink.clip(0, 255).astype(np.uint8)


def _write_idx(path: Path, values: np.ndarray, packed: bool) -> None:
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    content = header + values.tobytes()
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))
    else:
        path.write_bytes(content)
