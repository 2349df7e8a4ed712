"""One file of S3VE's EEG: a raw epoch or features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FEATURES = 512  # width of the EEG features that S3VE's authors use


def read_eeg(path: Path, samples: int) -> Float[Tensor, "*shape"]:
    """One EEG file: a raw epoch [C, samples] in µV, or features [512].

    Features of several windows, [T, 512], are averaged.

    Raises:
        ValueError: a damaged file, another shape, or NaN.
    """
    try:
        array = np.load(path, allow_pickle=False)
        signal = torch.from_numpy(array.astype(np.float32))
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a .npy array of numbers ({type(error).__name__}: {error}); "
            "copy it again"
        ) from error
    if signal.ndim not in (1, 2) or signal.shape[-1] not in (samples, FEATURES) or not len(signal):
        raise ValueError(
            f"{path} holds an array of shape {tuple(signal.shape)}; expected a raw epoch "
            f"({samples},) or (C, {samples}), or features ({FEATURES},) or (T, {FEATURES}); for "
            "epochs of another length pass eeg_samples"
        )
    if not bool(torch.isfinite(signal).all()):
        bad = int((~torch.isfinite(signal)).sum())
        raise ValueError(
            f"{path}: {bad} of {signal.numel()} values are NaN or infinite; repair the epoch, or "
            "remove the file so that the clip counts as one without EEG"
        )
    if signal.shape[-1] == samples:
        return signal.reshape(-1, samples)
    return signal.reshape(-1, FEATURES).mean(dim=0)
