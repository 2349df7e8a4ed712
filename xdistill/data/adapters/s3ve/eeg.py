"""One file of S3VE's EEG: a raw epoch, or features."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.files.arrays import open_array, read_array

FEATURES = 512  # width of the EEG features that S3VE's authors use


def read_epoch(path: Path, samples: int) -> Float[Tensor, "c t"]:
    """One raw epoch [C, samples], in the unit of the file.

    Raises:
        ValueError: a damaged file, another shape, NaN or infinity.
    """
    advice = (
        "for epochs of another length pass eeg_samples, or remove the file so that the clip counts "
        "as one without EEG"
    )
    signal = read_array(path, (samples,), (None, samples), advice=advice)
    return torch.from_numpy(signal.reshape(-1, samples))


def holds_features(path: Path, samples: int) -> bool:
    """Whether a file has features, [512] or [T, 512], rather than a raw epoch."""
    width = open_array(path, "the clip has EEG").shape[-1]
    return width == FEATURES != samples
