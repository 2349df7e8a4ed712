"""Small stand-ins for the data sets of films: tones and coloured squares in their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdistill.data.adapters.crema_d import EMOTIONS

RATE_HZ = 16_000
SENTENCES = ("IEO", "DFA", "TIE")


def write_crema_d_sample(root: str | Path, *, actors: int = 6, seed: int = 0) -> Path:
    """Writes both lists, a sound and two frames for three sentences of each emotion and actor.

    The first two sentences are in the training list, the third in the test list.

    Args:
        root: the folder; made if it is not there.
        actors: 3 or more, for a split without shared actors.
        seed: everything follows from it.
    """
    root = Path(root)
    lists: tuple[list[str], list[str]] = ([], [])
    for actor in range(1001, 1001 + actors):
        for label, emotion in enumerate(EMOTIONS):
            for at, sentence in enumerate(SENTENCES):
                name = f"{actor}_{sentence}_{emotion}_XX"
                rng = np.random.default_rng([seed, actor, label, at])
                write_tone(root / "AudioWAV" / f"{name}.wav", label, rng, seconds=1.0)
                write_frames(root / "Image-01-FPS" / name, label, rng)
                lists[at == 2].append(f"{name},{emotion}")
    for name, lines in zip(("train", "test"), lists, strict=True):
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return root


def write_ave_sample(root: str | Path, *, films: int = 6, seed: int = 0) -> Path:
    """Writes the three lists, a sound and frames of ``films`` films of each of three kinds.

    Four of six films are for training, one each for validation and testing; one more film, of the
    test list, is in the training list with another event, as it may happen in lists of events.
    """
    root = Path(root)
    kinds = ("Church bell", "Bark", "Flute")
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, kind in enumerate(kinds):
        for film in range(films):
            name = f"{kind[0]}{film:010d}"
            rng = np.random.default_rng([seed, label, film])
            write_tone(root / "Audio-1004-SE" / f"{name}.wav", label, rng, seconds=1.0)
            write_frames(root / "Image-01-FPS-SE" / name, label, rng)
            part = "test" if film == films - 1 else "val" if film == films - 2 else "train"
            lists[part].append(f"{kind}&{name}&good&0&{film + 4}")
    lists["train"].append(lists["test"][0].replace("&good&0", "&bad&3"))
    for name, lines in lists.items():
        (root / f"{name}Set.txt").write_text("\n".join(lines) + "\n")
    return root


def write_kinetics_sounds_sample(root: str | Path, *, films: int = 8, seed: int = 0) -> Path:
    """Writes both lists and, in a folder for each clip, sound and frames, of three classes.

    The last two of ``films`` films of a class are for testing; the first film of class 0 has a
    second clip, which is tested.
    """
    root = Path(root)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label in range(3):
        for film in range(films):
            tested = film >= films - 2
            clips = [(film, "test" if tested else "train")]
            clips += [(film + 60, "test")] if label == film == 0 else []
            for start, part in clips:
                name = f"-{label}x_{film:07d}_{start}"
                rng = np.random.default_rng([seed, label, start])
                write_tone(root / part / name / f"{name}.wav", label, rng, seconds=1.0)
                write_frames(root / part / name, label, rng)
                lists[part].append(f"{name},10,{label}")
    for name, lines in lists.items():
        (root / f"my_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_vggsound_sample(
    root: str | Path,
    *,
    classes: Sequence[str] = ("dog barking", "playing flute, solo", "train horning"),
    films: int = 8,
    seed: int = 0,
) -> Path:
    """Writes ``train_tiny.csv``, ``test_tiny.csv``, sound and frames as C2KD's scripts leave them.

    The last two of ``films`` films of each class are for testing.
    """
    root = Path(root)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, kind in enumerate(classes):
        for film in range(films):
            part = "test" if film >= films - 2 else "train"
            name = f"v{label}_{film:08d}_{30 * film:06d}"
            rng = np.random.default_rng([seed, label, film])
            sound = root / f"{part}-audios" / f"{part}-set" / f"{name}.wav"
            write_tone(sound, label, rng, seconds=1.0)
            images = root / f"{part}-videos" / f"{part}-set-img" / "Image-01-FPS"
            write_frames(images / f"{name}.mp4", label, rng)
            lists[part].append(f'v{label}_{film:08d},{30 * film},"{kind}"')
    for name, lines in lists.items():
        (root / f"{name}_tiny.csv").write_text("\n".join(lines) + "\n")
    return root


def write_vggsound_100_sample(root: str | Path, *, films: int = 8, seed: int = 0) -> Path:
    """Writes ``label_tiny.json`` and, as MFH has them, strips of two frames and sounds.

    The last two of ``films`` films of each of three classes are in ``test``, the others in
    ``train``; sounds are wav files in ``test`` and waveforms in ``train``.
    """
    import json

    import soundfile
    from PIL import Image

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
            Image.fromarray(strip.astype(np.uint8)).save(path, quality=90)
    (root / "label_tiny.json").write_text(json.dumps(keys))
    return root


def write_tone(path: Path, label: int, rng: np.random.Generator, *, seconds: float) -> None:
    """A wav file of 16 bits with a tone of the label's pitch and noise."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 300 * 1.5**label * rng.uniform(0.97, 1.03)
    tone = rng.uniform(0.2, 0.4) * np.sin(2 * np.pi * pitch_hz * t)
    sound = np.clip(tone + rng.normal(0, 0.05, len(t)), -1, 1)
    soundfile.write(path, sound, RATE_HZ, subtype="PCM_16")


def write_frames(folder: Path, label: int, rng: np.random.Generator, count: int = 2) -> None:
    """JPEG files of 48 × 40 pixels with a square whose colour and place tell the label."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for at in range(count):
        frame = rng.integers(0, 60, (40, 48, 3))
        row, column = divmod(label, 3)
        top, left = 4 + 16 * row, 2 + 15 * column
        frame[top : top + 14, left : left + 13, label % 3] += 150
        Image.fromarray(frame.astype(np.uint8)).save(folder / f"{at + 1:05d}.jpg", quality=90)
