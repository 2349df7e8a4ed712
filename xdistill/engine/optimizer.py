"""What `fit` optimises with unless told otherwise: which parameters decay, and the schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: matrices and kernels decay, nothing else does.

    Weight decay pulls towards 0, which is no sensible default for a bias, the gain of a norm, a
    temperature or the bias of `siglip`: all parameters with fewer than two axes, those of norms,
    and those named "bias".
    """
    norms = {id(p) for m in module.modules() if isinstance(m, NORMS) for p in m.parameters()}
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim >= 2 and id(parameter) not in norms
            groups[plain and name.rpartition(".")[2] != "bias"].append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0}
        for decays, parameters in groups.items()
        if parameters
    ]


def warmup_cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Linear warm-up over the first 5 % of the steps, then a half cosine down to zero."""
    warmup = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.5 * (1.0 + float(np.cos(np.pi * progress)))

    return LambdaLR(optimizer, factor)
