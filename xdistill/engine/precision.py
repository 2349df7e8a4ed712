"""Lightning's precisions around a Distiller: inputs follow the networks, losses stay exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
from torch import Tensor, nn

from xdistill.distiller import Distiller
from xdistill.losses.parts.precision import HALF
from xdistill.types import PairedBatch


@contextmanager
def precision_of_networks(trainer: L.Trainer, distiller: Distiller) -> Iterator[None]:
    """Let the trainer's precision reach the networks and their inputs alone while this lasts.

    - Of a batch, inputs and cached outputs are converted; a target is not.
    - With "bf16-true" and "16-true" the losses keep float32: they compute in it, and a bank or a
      temperature that was rounded to half precision would stay so.
    - Afterwards parameters and buffers have the dtypes that they came with, so that a student of
      "bf16-true" takes the float32 inputs that it always took.
    """
    plugin: Any = trainer.precision_plugin
    given = {name: tensor.dtype for name, tensor in _tensors(distiller).items()}
    batches, modules = (
        partial(method, plugin)
        for method in (type(plugin).convert_input, type(plugin).convert_module)
    )
    plugin.convert_input = partial(_inputs_alone, batches)
    plugin.convert_module = partial(_but_losses, modules, distiller)
    try:
        yield
    finally:
        del plugin.convert_input, plugin.convert_module
        for name, tensor in _tensors(distiller).items():
            if name in given:
                tensor.data = tensor.data.to(given[name])


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _inputs_alone(convert: Callable[[Any], Any], data: Any) -> Any:
    if not isinstance(data, PairedBatch):
        return convert(data)
    converted = data.map(lambda tensor: tensor)  # what other fields there are is kept as it is
    converted.inputs = {name: convert(tensor) for name, tensor in data.inputs.items()}
    converted.cached = {name: outputs.map(convert) for name, outputs in data.cached.items()}
    return converted


def _but_losses(
    convert: Callable[[nn.Module], nn.Module], distiller: Distiller, module: nn.Module
) -> nn.Module:
    losses = [distiller.losses, distiller.teacher_loss]
    exact = [{name: tensor.data for name, tensor in _tensors(one).items()} for one in losses]
    converted = convert(module)
    for one, before in zip(losses, exact, strict=True):
        for name, tensor in _tensors(one).items():
            if tensor.dtype in HALF:
                tensor.data = before[name].to(tensor.device)
    return converted
