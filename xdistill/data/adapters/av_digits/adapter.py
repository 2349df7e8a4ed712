"""Spoken digits (FSDD) and written digits (MNIST), paired by class as in AV-MNIST.

AV-MNIST (Vielzeuf et al., "CentralNet", ECCV workshops 2018) pairs images of MNIST with recordings
of the same digit from another source. This set is made in the same way from the original files:
one row for each recording, with an image that no other row has.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.adapters.av_digits.files import (
    IMAGE_SIDE,
    SAMPLE_RATE_HZ,
    Recording,
    find_recordings,
    read_log_mel,
    read_mnist,
    read_waveform,
)
from xdistill.data.cards import DatasetCard
from xdistill.data.files.file_column import FileColumn
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

DIGITS = tuple("zero one two three four five six seven eight nine".split())
TEST_INDICES, VAL_INDICES = range(5), range(5, 10)

CARD = DatasetCard(
    name="av_digits",
    pairs=(("audio", "image"), ("image", "audio")),
    classes=10,
    size="3,000 recordings of 6 speakers (FSDD) with as many of MNIST's 70,000 images",
    licence="FSDD: CC BY-SA 4.0; MNIST: usually given as CC BY-SA 3.0",
    citation=(
        "Jackson et al., Free Spoken Digit Dataset; LeCun, Cortes, Burges, The MNIST database of "
        "handwritten digits; paired as in Vielzeuf et al., CentralNet, ECCV workshops 2018"
    ),
    source_url="https://github.com/Jakobovski/free-spoken-digit-dataset",
    files=("fsdd/recordings/*.wav", "mnist/*-images-idx3-ubyte*"),
)


@register_dataset(CARD)
def av_digits(
    root: str | Path,
    *,
    fsdd: str | Path = "fsdd",
    mnist: str | Path = "mnist",
    split: Literal["published", "speakers"] = "published",
    val_speakers: Sequence[str] | None = None,
    test_speakers: Sequence[str] | None = None,
    images: Literal["mnist", "t10k"] = "mnist",
    images_per_recording: int = 1,
    audio: Literal["log_mel", "waveform"] = "log_mel",
    duration_s: float = 1.0,
    mels: int = 40,
    size: int = IMAGE_SIDE,
    noise: float = 0.0,
    keep_gib: float = 1.0,
    seed: int = 0,
) -> Splits:
    """Recordings and images of the same digit, as three paired datasets.

    - ``audio`` float32 [mels, 1 + 100·duration_s]: natural logarithm of the power in mel bands (the
      bands are the channels), or, as "waveform", [1, 8000·duration_s] from -1 to 1. A recording is
      padded with silence or cut at its end; all but 20 of the 3,000 are shorter than one second.
    - ``image`` float32 [1, size, size] from 0 to 1.

    Recordings are split first. Then each part draws images of its own: the seed decides the order
    of the images of a digit, and no image is used twice. No statistics are computed over rows. The
    group of a row is its speaker; MNIST does not say who wrote an image.

    Args:
        root: the folder that holds the next two.
        fsdd: FSDD's folder, which has ``recordings``; a path, or a name within the root.
        mnist: the folder of MNIST's idx files, packed or not; a path, or a name within the root.
        split: "published" tests on the indices 0 to 4 of each speaker and digit, as FSDD does, and
            validates on 5 to 9, which FSDD trains on; all parts have the same speakers.
            "speakers" puts no speaker into two parts.
        val_speakers: for "speakers"; the second to last in the alphabet when None.
        test_speakers: for "speakers"; the last one in the alphabet when None.
        images: "mnist" takes the test part's images from t10k, the others from train, and "t10k"
            divides t10k alone among the three parts.
        images_per_recording: rows for each recording, each with another image.
        audio: what an audio row holds.
        duration_s: length to which recordings are padded or cut.
        mels: number of mel bands.
        size: side to which images are reduced by averaging over cells; 28 keeps them.
        noise: standard deviation of Gaussian noise that is added once to each image; the result
            is clipped to 0 and 1.
        keep_gib: audio stays in memory if all of it fits into this many GiB.
        seed: decides the pairs and the noise.

    Raises:
        FileNotFoundError: a folder or file is missing; the message says where to get the data.
        ValueError: an option is out of range, a part has no recordings, a digit has too few images,
            or a file is damaged.
    """
    _check_options(split, images, audio, images_per_recording, duration_s, mels, size, noise)
    root = Path(root).expanduser()
    recordings = find_recordings(root / Path(fsdd).expanduser())
    parts = _split(recordings, split, val_speakers, test_speakers)
    rows = [[one for one in part for _ in range(images_per_recording)] for part in parts]
    drawn = _draw_images(root / Path(mnist).expanduser(), images, rows, seed)
    samples = round(duration_s * SAMPLE_RATE_HZ)
    read = partial(read_waveform, samples=samples)
    if audio == "log_mel":
        read = partial(read_log_mel, samples=samples, mels=mels)
    speakers = sorted({one.speaker for one in recordings})
    generator = torch.Generator().manual_seed(seed)
    return Splits(
        *(
            PairedDataset(
                {
                    "audio": FileColumn(
                        [one.path for one in part], read, keep_bytes=keep_gib * GIB
                    ),
                    "image": _degrade(pixels, size, noise, generator),
                },
                [one.digit for one in part],
                classes=DIGITS,
                group=[speakers.index(one.speaker) for one in part],
                ids=[f"{one.path.stem}+{name}" for one, name in zip(part, names, strict=True)],
            )
            for part, (pixels, names) in zip(rows, drawn, strict=True)
        )
    )


def _check_options(
    split: str,
    images: str,
    audio: str,
    images_per_recording: int,
    duration_s: float,
    mels: int,
    size: int,
    noise: float,
) -> None:
    for name, value, known in (
        ("split", split, ("published", "speakers")),
        ("images", images, ("mnist", "t10k")),
        ("audio", audio, ("log_mel", "waveform")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {known[0]!r} or {known[1]!r}, got {value!r}")
    if images_per_recording < 1 or mels < 1 or round(duration_s * SAMPLE_RATE_HZ) < 1 or noise < 0:
        raise ValueError(
            f"images_per_recording and mels are 1 or more, duration_s is above 0 and noise is 0 or "
            f"more, got {images_per_recording}, {mels}, {duration_s} and {noise}"
        )
    if not 1 <= size <= IMAGE_SIDE:
        raise ValueError(
            f"size must be from 1 to {IMAGE_SIDE}, the side of MNIST's images, got {size}"
        )


def _split(
    recordings: Sequence[Recording],
    split: str,
    val_speakers: Sequence[str] | None,
    test_speakers: Sequence[str] | None,
) -> list[list[Recording]]:
    """Recordings for train, val and test."""
    if split == "published":
        if val_speakers is not None or test_speakers is not None:
            raise ValueError(
                f"the published split has all speakers in every part, got val_speakers="
                f"{val_speakers} and test_speakers={test_speakers}; pass split='speakers' with them"
            )
        part = [
            2 if one.index in TEST_INDICES else 1 if one.index in VAL_INDICES else 0
            for one in recordings
        ]
    else:
        held = _held_out(sorted({one.speaker for one in recordings}), val_speakers, test_speakers)
        part = [held.get(one.speaker, 0) for one in recordings]
    parts = [[one for one, at in zip(recordings, part, strict=True) if at == k] for k in range(3)]
    for name, chosen in zip(Splits._fields, parts, strict=True):
        if not chosen:
            raise ValueError(
                f"the {split} split of these {len(recordings)} recordings leaves none for {name}; "
                "check that FSDD is complete, val_speakers and test_speakers"
            )
    return parts


def _held_out(
    speakers: list[str], val: Sequence[str] | None, test: Sequence[str] | None
) -> dict[str, int]:
    """The part of each speaker who is not for training: 1 for val, 2 for test."""
    test = speakers[-1:] if test is None else test
    val = [one for one in speakers if one not in test][-1:] if val is None else val
    unknown = [one for one in (*val, *test) if one not in speakers]
    if unknown or isinstance(val, str) or isinstance(test, str) or set(val) & set(test):
        raise ValueError(
            f"val_speakers and test_speakers are lists of {speakers} that share no speaker, "
            f"got {val!r} and {test!r}"
        )
    return dict.fromkeys(val, 1) | dict.fromkeys(test, 2)


def _draw_images(
    folder: Path, images: str, parts: Sequence[Sequence[Recording]], seed: int
) -> list[tuple[UInt8[np.ndarray, "n 28 28"], list[str]]]:
    """For each part the images of its rows and their names; no image is drawn twice."""
    generator = torch.Generator().manual_seed(seed)
    pools = [("t10k", [0, 1, 2])] if images == "t10k" else [("train", [0, 1]), ("t10k", [2])]
    drawn = {}
    for name, served in pools:
        pixels, labels = read_mnist(folder, name)
        digits = torch.tensor([one.digit for k in served for one in parts[k]])
        chosen = _pair(name, labels, digits, generator)
        for k, rows in zip(served, chosen.split([len(parts[k]) for k in served]), strict=True):
            drawn[k] = pixels[rows.numpy()], [f"{name}_{row}" for row in rows.tolist()]
    return [drawn[k] for k in range(len(parts))]


def _pair(
    pool: str, labels: Int64[Tensor, " m"], digits: Int64[Tensor, " n"], generator: torch.Generator
) -> Int64[Tensor, " n"]:
    """An image of the right digit for each row; none is used twice."""
    chosen = torch.full_like(digits, -1)
    for digit, name in enumerate(DIGITS):
        rows, known = (digits == digit).nonzero()[:, 0], (labels == digit).nonzero()[:, 0]
        if len(rows) > len(known):
            raise ValueError(
                f"{len(rows)} rows need an image of their own of a {name}, but {pool} has "
                f"{len(known)}; lower images_per_recording, or pass images='mnist' if MNIST is "
                "complete"
            )
        chosen[rows] = known[torch.randperm(len(known), generator=generator)[: len(rows)]]
    return chosen


def _degrade(
    pixels: UInt8[np.ndarray, "n 28 28"], size: int, noise: float, generator: torch.Generator
) -> Float[Tensor, "n 1 size size"]:
    image = torch.from_numpy(pixels).float()[:, None] / 255
    image = F.adaptive_avg_pool2d(image, size)
    if not noise:
        return image
    return (image + noise * torch.randn(image.shape, generator=generator)).clamp(0, 1)
