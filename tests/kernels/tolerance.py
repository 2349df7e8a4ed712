"""How far a kernel may be from its exact value."""

from __future__ import annotations

import torch

from tests.kernels.problems import Problem, Result, run

ALLOWED = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
ROUNDING = torch.finfo(torch.float32).eps


def check(problem: Problem, impl: str, dtype: torch.dtype) -> None:
    """The kernel in `dtype` agrees with the definition; see `agrees`."""
    agrees(run(problem.to(dtype).kernel(impl), problem.to(dtype).inputs), *truth(problem, dtype))


def truth(problem: Problem, dtype: torch.dtype) -> tuple[Result, Result, torch.dtype, float]:
    """The definition in float64 for the numbers that `dtype` can hold, and in `dtype` itself.

    And the size of what a gradient of rows or keys is a sum of: unit rows times scale / rows.
    """
    rounded = problem.to(dtype)
    exact, plain = rounded.to(torch.float64), rounded
    rows, _, scale, *_ = exact.inputs
    summand = float(scale.abs().max()) / max(len(rows), 1)
    return run(exact.twin(), exact.inputs), run(plain.twin(), plain.inputs), dtype, summand


def agrees(found: Result, exact: Result, plain: Result, dtype: torch.dtype, summand: float) -> None:
    """|found − exact| ≤ |plain − exact| + allowance, for the value and for each gradient.

    The allowance is that of the type times the largest entry, and never more than that of the
    type or, where sums are large, 32 roundings of the largest entry in float32. Entries that cancel
    are measured by what they are a sum of: a value by 1, a gradient of rows or keys by
    1 / number of rows and keys, or by 32 roundings of its summands, which one row among many keys
    needs: the order in which they are added depends on the processor.
    """
    count = max(len(exact.gradients[0]), len(exact.gradients[1]), 1)
    for name, value in found.parts().items():
        true, ordinary = exact.parts()[name], plain.parts()[name].double()
        assert value.isfinite().all(), name
        if not true.numel():
            continue
        least = 1.0 / count if name in ("a", "k") else 1.0
        size = true.abs().max().item()
        terms = max(size, summand) if name in ("a", "k") else size
        allowed = max(ALLOWED[dtype] * min(max(size, least), 1.0), 32 * ROUNDING * terms)
        error, usual = (value.double() - true).abs().max(), (ordinary - true).abs().max()
        assert error <= usual + allowed, (
            f"{name}: error {error:.2e}, of plain PyTorch {usual:.2e}, allowed {allowed:.2e}"
        )
