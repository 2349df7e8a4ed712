"""VGGSound-100 in the layout of MFH: 100 classes, the frames of a film stacked in one image.

Xue, Gao, Ren, Zhao, "The modality focusing hypothesis", ICLR 2023, took them from VGGSound (Chen et
al., ICASSP 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import read_array
from xdistill.data.files.audio_visual.clip import AVClip, check_unique
from xdistill.data.files.audio_visual.format import AVFormat
from xdistill.data.files.clips import pick_frames
from xdistill.data.files.file_column import FileColumn
from xdistill.data.files.images import open_image
from xdistill.data.files.json_file import name_of, read_json
from xdistill.data.files.names import has_suffix
from xdistill.data.files.sound import FLOOR, find_sound, mel_spectrogram, read_log_mel
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import TEST, TRAIN, VAL, check_split, published_or_clean
from xdistill.data.splits import Splits
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

LABELS = "label_tiny.json"
PARTS = {"train": TRAIN, "val": VAL, "test": TEST}
RATE_HZ = 16_000
CARD = DatasetCard(
    name="vggsound_100",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=100,
    size="100 of VGGSound's classes, films of ten seconds",
    licence="the lists of VGGSound: CC BY 4.0; films from YouTube",
    citation="Xue, Gao, Ren, Zhao, The Modality Focusing Hypothesis, ICLR 2023; Chen, Xie, Vedaldi,"
    " Zisserman, VGGSound, ICASSP 2020",
    source_url="https://github.com/zihuixue/MFH",
    files=(LABELS, "train/video_jpg/*.jpg"),
)
LAYOUT = (
    f"<root>/{LABELS} (a class number for each key), and in <root>/train, <root>/test and, if "
    "there is one, <root>/val: video_jpg/<film>_<key>_<number>.jpg (square frames, one "
    "below the other), audio/<the same>.wav or audio_npy/<the same>.npy (a waveform at 16 kHz)"
)


@register_dataset(CARD)
def vggsound_100(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    seed: int = 0,
    **options: Any,
) -> Splits:
    """VGGSound-100 as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video``.

    ``video`` is float32 [3, frames, size, size] from 0 to 1, ``audio`` as in
    `xdistill.data.files.audio_visual.dataset`. A row's group is its film, the part of the file's
    name before the key.

    Args:
        root: holds ``label_tiny.json``, ``train`` and ``test``.
        split: "clean" leaves films out of the training part that are also tested, and where there
            is no ``val`` holds out 15 % of the training films for validation. "published" keeps the
            folders: without ``val`` the validation part *is* the test part, of which a warning is
            given.
        seed: decides which films are held out.
        **options: of `xdistill.data.files.audio_visual.format.AVFormat`; sound of ten seconds.

    Raises:
        FileNotFoundError: labels, images or sounds are missing; the message says where to get them.
        ValueError: an option is out of range, or a file's key has no label.
    """
    check_split(split)
    form = AVFormat(**{"seconds": 10.0, **options})
    root = Path(root).expanduser()
    labels = _read_labels(root / LABELS)
    images = {
        part: [
            path
            for path in sorted((root / name / "video_jpg").glob("*"))
            if has_suffix(path, (".jpg", ".jpeg")) and not path.name.startswith(".")
        ]
        for name, part in PARTS.items()
    }
    for name in ("train", "test"):
        if not images[PARTS[name]]:
            raise FileNotFoundError(
                f"{root / name / 'video_jpg'}/*.jpg is missing; the layout is {LAYOUT}, the films "
                f"are those of {CARD.source_url}"
            )
    rows = [(_clip(path, part, labels), path) for part in images for path in images[part]]
    clips = [clip for clip, _ in rows]
    check_unique(clips, f"{root}, in train, val and test,")
    classes = tuple(sorted(set(labels.values()), key=int))
    groups = {name: at for at, name in enumerate(sorted({clip.group for clip in clips}))}
    dataset = PairedDataset(
        _columns([path for _, path in rows], form),
        [classes.index(clip.label) for clip in clips],
        classes=classes,
        group=[groups[clip.group] for clip in clips],
        ids=[clip.id for clip in clips],
    )
    return published_or_clean(dataset, [clip.part for clip in clips], CARD.name, split, seed)


def _read_labels(path: Path) -> dict[str, str]:
    """The class number of each key, as text."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout is {LAYOUT}, distributed at {CARD.source_url}"
        )
    try:
        return {key: _class_number(value) for key, value in read_json(path).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no JSON object of a class number for each key ({type(error).__name__}: "
            f"{error}); copy it again"
        ) from error


def _class_number(value: Any) -> str:
    text = name_of(value, "a class number")
    if not text.isdecimal():
        raise ValueError(f"a class number is {value!r}, expected 0 or more")
    return str(int(text))


def _clip(path: Path, part: int, labels: dict[str, str]) -> AVClip:
    film, *rest = path.stem.rsplit("_", 2)
    if len(rest) != 2 or rest[0] not in labels:
        raise ValueError(
            f"{path} is not named <film>_<key>_<number>.jpg with a key of {LABELS}, as in "
            f"abcdefghijk_{next(iter(labels), '7')}_0.jpg"
        )
    return AVClip(f"{path.parents[1].name}/{path.stem}", labels[rest[0]], film, path.stem, part)


def _columns(images: Sequence[Path], form: AVFormat) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    keep = form.keep_gib * GIB
    if "audio" in form.modalities:
        sounds = [_sound_of(path) for path in images]
        columns["audio"] = FileColumn(sounds, partial(_read_sound, form=form), keep_bytes=keep)
    if "video" in form.modalities:
        columns["video"] = FileColumn(images, partial(read_strip, form=form), keep_bytes=keep)
    return columns


def _sound_of(image: Path) -> Path:
    folder = image.parents[1]
    waveform = folder / "audio_npy" / f"{image.stem}.npy"
    found = find_sound(folder / "audio", image.stem) or (waveform if waveform.is_file() else None)
    if found is None:
        raise FileNotFoundError(
            f"{folder / 'audio' / image.stem}.wav is missing, and so is {waveform}; the layout is "
            f"{LAYOUT}, the films are those of {CARD.source_url}"
        )
    return found


def _read_sound(path: Path, form: AVFormat) -> Float[Tensor, "m u"]:
    if path.suffix != ".npy":
        return read_log_mel(
            path,
            mels=form.mels,
            rate_hz=form.rate_hz,
            seconds=form.seconds,
            max_lost=form.max_lost,
        )
    if form.rate_hz != RATE_HZ:
        raise ValueError(
            f"the waveforms in audio_npy have {RATE_HZ} samples a second, got rate_hz="
            f"{form.rate_hz}; leave that option out"
        )
    stored = read_array(path).reshape(-1)
    length = round(form.seconds * RATE_HZ)
    waveform = torch.zeros(1, length)
    waveform[0, : min(length, len(stored))] = torch.from_numpy(stored[:length])
    return torch.log(mel_spectrogram(RATE_HZ, form.mels)(waveform)[0] + FLOOR)


def read_strip(path: Path, form: AVFormat) -> Float[Tensor, "c t h w"]:
    """Frames spread evenly over the square ones that an image stacks one below the other.

    Raises:
        ValueError: the image is damaged, or its height is no multiple of its width.
    """
    pixels = open_image(path, form.channels)
    side, height = pixels.size
    if height % side:
        raise ValueError(
            f"{path} is {side} pixels wide and {height} high, expected square frames one below the "
            "other"
        )
    frames = [
        np.asarray(
            pixels.crop((0, at * side, side, (at + 1) * side)).resize((form.size, form.size)),
            np.float32,
        ).reshape(form.size, form.size, form.channels)
        for at in pick_frames(height // side, form.frames)
    ]
    return torch.from_numpy(np.stack(frames).transpose(3, 0, 1, 2).copy()) / 255
