"""The rows, keys and labels on which the kernels are timed."""

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
    """The size of one measurement, and where it runs.

    Attributes:
        op: name of the loss.
        rows: N.
        keys: M, which equals N except for `khn`, where it is the size of the bank.
        dim: D.
        dtype: name of a torch.dtype.
        device: name of a torch.device.
        threads: of the CPU.
    """

    op: str
    rows: int
    keys: int
    dim: int
    dtype: str
    device: str
    threads: int

    def small(self) -> Setting:
        """The same with few rows, for a warm-up."""
        return replace(self, rows=min(self.rows, 1024), keys=min(self.keys, 1024))


class Problem(NamedTuple):
    """Random unit rows.

    Attributes:
        rows: [N, D].
        keys: [N, D]; keys[i] belongs to rows[i]. The constant teacher's rows for `affinity_kl`.
        scale: 0-d, learned.
        bias: 0-d, learned.
        row_labels: [N].
        key_labels: [N]; a tensor of its own, so that no package takes the keys for the rows.
        bank: [M, D] further keys of `khn`.
        bank_labels: [M].
    """

    rows: Tensor
    keys: Tensor
    scale: Tensor
    bias: Tensor
    row_labels: Tensor
    key_labels: Tensor
    bank: Tensor
    bank_labels: Tensor

    def forget(self) -> None:
        """Drop the gradients of the last step."""
        for tensor in self:
            tensor.grad = None


def make_problem(setting: Setting) -> Problem:
    """The same random numbers for every contestant."""
    generator = torch.Generator(setting.device).manual_seed(0)
    dtype, device = getattr(torch, setting.dtype), setting.device
    classes = KHN_CLASSES if setting.op == "khn" else CLASSES

    def unit_rows(count: int) -> Tensor:
        x = torch.empty(count, setting.dim, dtype=dtype, device=device).normal_(generator=generator)
        return F.normalize(x, dim=1, out=x)

    def labels(count: int) -> Tensor:
        return torch.arange(count, device=device) % classes

    n, bank = setting.rows, setting.keys if setting.op == "khn" else 0
    return Problem(
        unit_rows(n).requires_grad_(),
        unit_rows(n).requires_grad_(setting.op != "affinity_kl"),
        torch.tensor(SCALE, device=device, requires_grad=True),
        torch.tensor(BIAS, device=device, requires_grad=True),
        labels(n),
        labels(n),
        unit_rows(bank),
        labels(bank),
    )
