"""The rows, keys and labels that the kernels are timed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CLASSES, KHN_CLASSES = 10, 5
SCALE, BIAS = 10.0, -10.0  # of the similarities, as SigLIP starts; 1 / SCALE is the temperature
MARGIN, NEGATIVES = 0.5, 5  # of khn


@dataclass(frozen=True)
class Setting:
    """What one measurement runs on.

    Attributes:
        keys: as many as rows, but for `khn`, where they are those of the bank.
        dtype: name of a torch.dtype.
    """

    op: str
    rows: int
    keys: int
    dim: int
    dtype: str
    device: str
    threads: int

    def small(self) -> Setting:
        """The same with few rows: for warming up."""
        return replace(self, rows=min(self.rows, 1024), keys=min(self.keys, 1024))


class Problem(NamedTuple):
    """Random rows of length one.

    Attributes:
        a: [N, D] the student's rows.
        b: [N, D] what belongs to them; constant in `affinity_kl`, whose teacher it is.
        scale: 0-d, trained.
        bias: 0-d, trained.
        la: [N] classes of a.
        lb: [N] classes of b; another tensor, so that a package cannot take b for a.
        bank: [M, D] further keys, of `khn`.
        bank_labels: [M].
    """

    a: Tensor
    b: Tensor
    scale: Tensor
    bias: Tensor
    la: Tensor
    lb: Tensor
    bank: Tensor
    bank_labels: Tensor

    def forget(self) -> None:
        """Drop the gradients of the last step."""
        for tensor in self:
            tensor.grad = None


def make_problem(setting: Setting) -> Problem:
    """The same numbers for every contestant."""
    generator = torch.Generator(setting.device).manual_seed(0)
    dtype, device = getattr(torch, setting.dtype), setting.device
    classes = KHN_CLASSES if setting.op == "khn" else CLASSES

    def rows(count: int) -> Tensor:
        x = torch.empty(count, setting.dim, dtype=dtype, device=device).normal_(generator=generator)
        return F.normalize(x, dim=1, out=x)

    def labels(count: int) -> Tensor:
        return torch.arange(count, device=device) % classes

    n, bank = setting.rows, setting.keys if setting.op == "khn" else 0
    return Problem(
        rows(n).requires_grad_(),
        rows(n).requires_grad_(setting.op != "affinity_kl"),
        torch.tensor(SCALE, device=device, requires_grad=True),
        torch.tensor(BIAS, device=device, requires_grad=True),
        labels(n),
        labels(n),
        rows(bank),
        labels(bank),
    )
