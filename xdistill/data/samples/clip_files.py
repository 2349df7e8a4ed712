"""Files of clips that samples are made of: tones, squares in JPEG frames, and films with both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.files.extra import reader

RATE_HZ = 16_000


def write_tone(path: Path, label: int, rng: np.random.Generator, *, seconds: float) -> None:
    """Writes a 16-bit wav file with a tone of the label's pitch, and noise."""
    soundfile = reader("soundfile", path)

    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 300 * 1.5**label * rng.uniform(0.97, 1.03)
    tone = rng.uniform(0.2, 0.4) * np.sin(2 * np.pi * pitch_hz * t)
    sound = np.clip(tone + rng.normal(0, 0.05, len(t)), -1, 1)
    soundfile.write(path, sound, RATE_HZ, subtype="PCM_16")


def write_frames(folder: Path, label: int, rng: np.random.Generator, count: int = 2) -> None:
    """Writes JPEG files of 48 × 40 pixels with a square whose colour and place show the label."""
    images = reader("PIL.Image", folder)

    folder.mkdir(parents=True, exist_ok=True)
    for at in range(count):
        frame = rng.integers(0, 60, (40, 48, 3))
        row, column = divmod(label, 3)
        top, left = 4 + 16 * row, 2 + 15 * column
        frame[top : top + 14, left : left + 13, label % 3] += 150
        images.fromarray(frame.astype(np.uint8)).save(folder / f"{at + 1:05d}.jpg", quality=90)


def write_film(path: Path, label: int, rng: np.random.Generator) -> None:
    """Writes half a second of film: a square's place and a tone's pitch show the label."""
    av = reader("av", path)

    with av.open(str(path), "w") as film:
        pictures = film.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 48, "yuv420p"
        track = film.add_stream("aac", rate=RATE_HZ, layout="mono")
        for _ in range(5):
            image = rng.integers(0, 60, (48, 48, 3))
            row, column = divmod(label, 3)
            image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 170
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
            film.mux(pictures.encode(frame))
        film.mux(pictures.encode(None))
        t = np.arange(RATE_HZ // 2) / RATE_HZ
        tone = 0.4 * np.sin(2 * np.pi * 300 * 1.4**label * t) + rng.normal(0, 0.01, len(t))
        sound = av.AudioFrame.from_ndarray(
            tone.astype(np.float32)[None], format="fltp", layout="mono"
        )
        sound.sample_rate = RATE_HZ
        film.mux(track.encode(sound))
        film.mux(track.encode(None))
