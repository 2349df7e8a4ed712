"""The files of spoken and written digits: FSDD's wav and MNIST's idx."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.files.extra import reader
from xdistill.data.files.film import check_lost
from xdistill.data.files.riff import check_wav, share_of_riff_lost
from xdistill.data.files.sound import FLOOR, mel_spectrogram

SAMPLE_RATE_HZ = 8000
IMAGE_SIDE = 28
FSDD_SOURCE = (
    "FSDD is distributed at https://github.com/Jakobovski/free-spoken-digit-dataset; the layout is "
    "<fsdd>/recordings/<digit>_<speaker>_<index>.wav"
)
MNIST_SOURCE = (
    "MNIST is distributed by LeCun, Cortes and Burges (http://yann.lecun.com/exdb/mnist, "
    "https://ossci-datasets.s3.amazonaws.com/mnist); the layout is "
    "<mnist>/train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, each unpacked or as .gz"
)


class Recording(NamedTuple):
    """One spoken digit: the digit, its speaker, and the number of the repetition."""

    digit: int
    speaker: str
    index: int
    path: Path


def find_recordings(folder: Path) -> list[Recording]:
    """FSDD's recordings, by digit, speaker and index.

    Raises:
        FileNotFoundError: there is no folder ``recordings``, or no recording in it.
    """
    recordings = folder / "recordings"
    if not recordings.is_dir():
        raise FileNotFoundError(f"{recordings} is missing. {FSDD_SOURCE}")
    pattern = re.compile(r"([0-9])_([A-Za-z]+)_([0-9]+)\.(?:wav|WAV)")
    found = sorted(
        Recording(int(match[1]), match[2], int(match[3]), path)
        for path in recordings.iterdir()
        if (match := pattern.fullmatch(path.name))
    )
    if not found:
        raise FileNotFoundError(f"{recordings} holds no file named 0_george_0.wav. {FSDD_SOURCE}")
    return found


def read_waveform(path: Path, samples: int) -> Float[Tensor, "1 t"]:
    """A recording from -1 to 1, cut at its end or padded with silence to ``samples``.

    Raises:
        ValueError: the file is damaged or empty, its rate is not 8 kHz, or it has several channels.
    """
    soundfile = reader("soundfile", path)
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)  # [t, c]
    except Exception as error:  # soundfile's own kind, and those of the operating system
        raise ValueError(
            f"{path} cannot be read as a wav file ({type(error).__name__}: {error}); it may be "
            "truncated: copy it again"
        ) from error
    if rate_hz != SAMPLE_RATE_HZ or sound.shape[1] != 1 or not len(sound):
        raise ValueError(
            f"{path} holds {len(sound)} samples of {sound.shape[1]} channel(s) at {rate_hz} Hz; "
            f"expected one channel at {SAMPLE_RATE_HZ} Hz, as in FSDD"
        )
    check_wav(path)
    check_lost(path, share_of_riff_lost(path), 0.0, "sound")
    if not np.isfinite(sound).all():
        raise ValueError(f"{path} holds NaN or infinite samples; copy it again")
    waveform = torch.from_numpy(sound[:samples, 0])
    return F.pad(waveform, (0, samples - len(waveform)))[None]


def read_log_mel(path: Path, samples: int, mels: int) -> Float[Tensor, "m u"]:
    """Logarithm of the power of `read_waveform` in mel bands: windows of 25 ms every 10 ms."""
    return torch.log(mel_spectrogram(SAMPLE_RATE_HZ, mels)(read_waveform(path, samples))[0] + FLOOR)


def read_mnist(folder: Path, part: str) -> tuple[UInt8[np.ndarray, "n 28 28"], Int64[Tensor, " n"]]:
    """Images and digits of a part of MNIST, "train" or "t10k".

    Raises:
        FileNotFoundError: a file is missing, both unpacked and as .gz.
        ValueError: a file is damaged, or images and labels do not match.
    """
    images = _read_idx(folder, f"{part}-images-idx3-ubyte", 3)
    labels = _read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
    if images.shape != (len(labels), IMAGE_SIDE, IMAGE_SIDE) or labels.max(initial=0) > 9:
        raise ValueError(
            f"{folder}: {part} has images {images.shape} and {len(labels)} labels up to "
            f"{labels.max(initial=0)}; expected (n, 28, 28) and n labels from 0 to 9; copy both "
            "again"
        )
    return images, torch.from_numpy(labels.astype(np.int64))


def _read_idx(folder: Path, name: str, axes: int) -> np.ndarray:
    """An idx file of bytes: two zeros, type 8, the number of axes, their lengths, the values."""
    packed = folder / f"{name}.gz"
    path = packed if packed.is_file() else folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, and so is {packed.name}. {MNIST_SOURCE}")
    try:
        content = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
        magic, *shape = struct.unpack_from(f">{1 + axes}I", content)
        values = np.frombuffer(content, np.uint8, offset=4 * (1 + axes))
        if magic != 0x800 + axes:
            raise ValueError(f"it begins with {magic:#x}, not {0x800 + axes:#x}")
        return values.reshape(shape)
    except Exception as error:  # gzip, zlib, struct and numpy raise many kinds
        raise ValueError(
            f"{path} cannot be read as an idx file of {axes} axes ({type(error).__name__}: "
            f"{error}); it may be truncated: copy it again"
        ) from error
