"""Parameters of a loss that get gradient while the optimiser does not hold them."""

from __future__ import annotations

import warnings

import torch
from torch import nn


class UntrainedParameters:
    """Warns once where the student is trained and parameters of its losses are left behind.

    An optimiser that was made before `bind` lacks the projectors that `bind` made. Nothing fails:
    they get gradient, and stay as they were drawn. Every optimiser changes parameters in place,
    which PyTorch counts in a tensor's `_version`; so the student's numbers tell that an optimiser
    has stepped, and the losses' that it left them alone.
    """

    def __init__(self) -> None:
        self.student: int | None = None
        self.versions: dict[str, int] = {}
        self.with_gradient: set[str] = set()
        self.warned = False

    def look(self, student: nn.Module, losses: nn.Module) -> None:
        """Compare with the first look. To be called before each forward in training mode."""
        if self.warned or torch.compiler.is_compiling():
            return
        if self.student is None:
            self.student = _version(student)
            self.versions = {name: p._version for name, p in losses.named_parameters()}
            return
        self.note_gradients(losses)
        left = [
            name
            for name, p in losses.named_parameters()
            if name in self.with_gradient and p._version == self.versions.get(name)
        ]
        if left and _version(student) > self.student:
            self.warned = True
            warnings.warn(
                f"the optimiser trains the student but not {len(left)} parameters of its losses "
                f"({', '.join(left[:3])}{', …' if len(left) > 3 else ''}), which get gradient; "
                "make the optimiser after the Distiller, from distiller.parameters()",
                stacklevel=3,
            )

    def note_gradients(self, losses: nn.Module) -> None:
        """Note which parameters hold a gradient. To be called before gradients are cleared."""
        self.with_gradient |= {n for n, p in losses.named_parameters() if p.grad is not None}


def _version(module: nn.Module) -> int:
    return sum(parameter._version for parameter in module.parameters())
