"""The networks of a setting, made from its data and from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from xdistill.data.paired import PairedDataset
from xdistill.experiment.hidden_layers import keep_layers
from xdistill.experiment.rows import first_sample
from xdistill.experiment.setting import Setting
from xdistill.registry import create_encoder

T = TypeVar("T")


def seeded(seed: int, make: Callable[[], T]) -> T:
    """What `make` returns; its random numbers follow from the seed alone."""
    torch.manual_seed(seed)
    return make()


def new_network(setting: Setting, train: PairedDataset, modality: str, seed: int) -> nn.Module:
    """An encoder of the student's modality or of a teacher's, which returns the setting's layers.

    Raises:
        ValueError: an unknown encoder, or a layer that it does not have.
        TypeError: an option that the encoder does not take.
    """
    options = encoder_options(setting, train, modality)
    encoder = seeded(seed, lambda: create_encoder(setting.encoder_of(modality), **options))
    names = [pair[modality != setting.student] for pair in setting.layers]
    return keep_layers(encoder, names, first_sample(train, modality)[None])


def encoder_options(setting: Setting, train: PairedDataset, modality: str) -> dict[str, Any]:
    """The options of `create_encoder`: those that follow from the data, and the setting's."""
    name = setting.encoder_of(modality)
    options: dict[str, Any] = {
        "num_classes": len(train.classes),
        "in_channels": first_sample(train, modality).shape[0],
    }
    if name == "mlp" or name.startswith(("timm/", "torchvision/")):
        options["modality"] = modality
    return options | dict(setting.options.get(modality, {}))
