"""A few films in VGGSound-100's labels, strips and sounds: tones and coloured bars."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from xdistill.data.adapters.vggsound_100 import LABELS
from xdistill.data.files.extra import reader
from xdistill.data.samples.clip_files import write_tone


def write_vggsound_100_sample(root: str | Path, *, films: int = 8, seed: int = 0) -> Path:
    """Writes ``label_tiny.json`` and, as MFH has them, strips of two frames and sounds.

    The last two of ``films`` films of each of three classes are in ``test``, the others in
    ``train``; sounds are wav files in ``test`` and waveforms in ``train``.
    """
    soundfile, images = reader("soundfile", root), reader("PIL.Image", root)
    root = Path(root)
    keys = {"17": 0, "204": 1, "33": 2}
    for key, label in keys.items():
        for film in range(films):
            folder = root / ("test" if film >= films - 2 else "train")
            name = f"v{label}_{film:08d}_{key}_{film}"
            rng = np.random.default_rng([seed, label, film])
            sound = folder / "audio" / f"{name}.wav"
            write_tone(sound, label, rng, seconds=1.0)
            if film < films - 2:
                (folder / "audio_npy").mkdir(exist_ok=True)
                waveform = soundfile.read(sound, dtype="float32")[0]
                np.save(folder / "audio_npy" / f"{name}.npy", waveform[None])
                sound.unlink()
            strip = rng.integers(0, 60, (2 * 32, 32, 3))
            strip[:, 10 * label : 10 * label + 10, label] += 150
            (folder / "video_jpg").mkdir(exist_ok=True)
            path = folder / "video_jpg" / f"{name}.jpg"
            images.fromarray(strip.astype(np.uint8)).save(path, quality=90)
    (root / LABELS).write_text(json.dumps(keys))
    return root
