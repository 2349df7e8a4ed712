"""Random arguments for the contrastive kernels, and their values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.kernels import twins
from xdistill import kernels
from xdistill.kernels.dispatch import why_no_triton
from xdistill.kernels.passes import row_lse

LABELLED = ("supcon", "multiclass_nce")
OPS = ("infonce", "siglip", *LABELLED)


def impls_here() -> list[str]:
    """The implementations that run on this machine."""
    return ["reference", "tiled", *(["triton"] if triton_runs() else [])]


def triton_runs() -> bool:
    """Whether a Triton kernel runs: natively, or on the CPU in an interpreter that works.

    That of Triton 3.6 turns arrays of one number into integers, which numpy refuses since 2.4.
    """
    x = torch.ones(2, 2, device="cuda" if torch.cuda.is_available() else "cpu")
    if why_no_triton(x) is not None:
        return False
    try:
        row_lse.operator(x, x, None, None, None, None, "triton")
    except Exception as error:
        if "0-dimensional" not in repr(error):
            raise
        return False
    return True


IMPLS = impls_here()
EXACT = ("reference", "tiled")
"""Those that compute in float64."""


@dataclass(frozen=True)
class Problem:
    """One call of a kernel.

    Attributes:
        op: name of the kernel.
        inputs: what gets a gradient, in the order of the arguments: rows, keys, scale (and bias).
        rest: the other arguments, by name.
    """

    op: str
    inputs: tuple[Tensor, ...]
    rest: dict[str, Any] = field(default_factory=dict)

    def to(self, dtype: torch.dtype) -> Problem:
        """The same with rows and keys of another type; scale and bias stay wide, as in a model."""
        a, k, *numbers = self.inputs
        wide = torch.promote_types(dtype, torch.float32)
        rest = {
            name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in self.rest.items()
        }  # fmt: skip
        inputs = (a.to(dtype), k.to(dtype), *(number.to(wide) for number in numbers))
        return replace(self, inputs=inputs, rest=rest)

    def having(self, **rest: Any) -> Problem:
        """The same with other arguments."""
        return replace(self, rest={**self.rest, **rest})

    def kernel(self, impl: str, **rest: Any) -> Callable[..., Tensor]:
        """The public function, as a function of the inputs alone."""
        function = getattr(kernels, self.op)
        return lambda *inputs: function(*inputs, **{**self.rest, **rest}, impl=impl)

    def twin(self) -> Callable[..., Tensor]:
        """The slow twin from the definition, as a function of the inputs alone."""
        return lambda *inputs: getattr(twins, self.op)(*inputs, **self.rest)


@dataclass(frozen=True)
class Result:
    """A value and the gradients of the inputs; `parts` names them."""

    value: Tensor
    gradients: tuple[Tensor, ...]

    def parts(self) -> dict[str, Tensor]:
        return dict(zip(("value", "a", "k", "scale", "bias"), self.all(), strict=False))

    def all(self) -> tuple[Tensor, ...]:
        return self.value, *self.gradients


def run(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Result:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    filled = (
        torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)
    )  # fmt: skip
    return Result(value.detach(), tuple(filled))


def unit(g: torch.Generator, rows: int, width: int) -> Tensor:
    return normalize(torch.randn(rows, width, generator=g, dtype=torch.float64), dim=1)


def make(
    op: str, n: int, m: int, d: int, *, scale: float = 10.0, classes: int = 3, unknown: float = 0.2,
    absent: float = 0.2, extra: int | None = 5, labels: bool = True, paired: bool = True,
    seed: int = 0,
) -> Problem:  # fmt: skip
    """Unit rows in float64.

    Args:
        unknown: share of the rows, and of the keys, without a label.
        absent: share of the rows, of the keys and of the extra keys that are not valid; 0 leaves
            the masks out.
        extra: number of extra keys; None leaves them out.
    """
    g = torch.Generator().manual_seed(seed)

    def label(count: int) -> Tensor:
        drawn = torch.randint(classes, (count,), generator=g)
        return torch.where(torch.rand(count, generator=g) < unknown, -1, drawn)

    def mask(count: int) -> Tensor | None:
        return torch.rand(count, generator=g) >= absent if absent else None

    numbers = [torch.tensor(scale, dtype=torch.float64)]
    if op == "siglip":
        numbers.append(torch.tensor(-3.0, dtype=torch.float64))
    inputs = (unit(g, n, d), unit(g, m, d), *numbers)
    rest: dict[str, Any] = {}
    if op in LABELLED:
        rest["paired"] = paired
        if labels:
            rest.update(row_labels=label(n), key_labels=label(m))
        rest.update(valid=mask(n), key_valid=mask(m))
    elif n == m:
        rest["valid"] = mask(n)
    if extra is not None:
        rest.update(extra=unit(g, extra, d), extra_valid=mask(extra))
        if op in LABELLED and labels:
            rest["extra_labels"] = label(extra)
    return Problem(op, inputs, rest)
