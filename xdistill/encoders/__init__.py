"""Encoders by modality. Importing this package registers them and loads no heavy library."""

from xdistill.encoders import (
    audio,
    body,
    breathing,
    eeg,
    huggingface,
    image,
    providers,
    signal,
    standardized,
    tabular,
    video,
)
from xdistill.encoders.checkpoint import load_weights, save_weights

__all__ = [
    "audio",
    "body",
    "breathing",
    "eeg",
    "huggingface",
    "image",
    "load_weights",
    "providers",
    "save_weights",
    "signal",
    "standardized",
    "tabular",
    "video",
]
