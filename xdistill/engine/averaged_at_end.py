"""A run with StochasticWeightAveraging that was killed between its last checkpoint and its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn

from xdistill.engine.saving import Saved


def lacks_average(saved: Saved, callbacks: Sequence[Any]) -> bool:
    """Whether a run that has ended was killed before its average was measured and kept."""
    return bool(_averaging(callbacks)) and not saved.state.get("left_by_a_callback", False)


def an_epoch_is_left(saved: Saved, module: nn.Module, max_epochs: int) -> bool:
    """Whether the callback still has its last epoch, for the statistics of a BatchNorm, to run."""
    norms = StochasticWeightAveraging.pl_module_contains_batch_norm(module)  # type: ignore[arg-type]
    return norms and saved.epochs == max_epochs and not saved.state["stopped"]


def load_end(module: nn.Module, saved: Saved, callbacks: Sequence[Any], max_epochs: int) -> None:
    """Give the module the weights that the callback would have left.

    They are the average where training went through its last epoch or has none. After that epoch's
    extra one for a BatchNorm, and in a run that ended early, they are the module's own.
    """
    module.load_state_dict(saved.checkpoint["state_dict"])
    if max_epochs != -1 and (saved.epochs != max_epochs or saved.state["stopped"]):
        return
    for one in _averaging(callbacks):
        average = saved.checkpoint["callbacks"][one.state_key]["average_model_state"]
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(average[name])


def _averaging(callbacks: Sequence[Any]) -> list[StochasticWeightAveraging]:
    return [one for one in callbacks if isinstance(one, StochasticWeightAveraging)]
