"""Every kernel, implementation and type against the definition, over ragged shapes."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.kernels.problems import IMPLS, OPS, Problem, make, run
from tests.kernels.tolerance import agrees, check, truth

SIZES = (1, 3, 17, 64, 65, 100, 257)
WIDTHS = (*SIZES, 768)

# N, M, D: every size in every place
RAGGED = [
    (1, 1, 1), (1, 3, 17), (3, 1, 64), (17, 17, 3), (64, 65, 17), (65, 64, 65), (100, 100, 100),
    (257, 257, 64), (257, 3, 257), (3, 257, 1), (17, 100, 768), (65, 65, 768), (1, 257, 100),
]  # fmt: skip
HALF = [(1, 1, 1), (3, 17, 65), (17, 3, 100), (65, 65, 64), (64, 100, 257)]
INTERPRETED = [(1, 1, 1), (3, 17, 65), (17, 3, 768), (65, 65, 17)]
"""For Triton's interpreter, which is slow."""


def settings_of(n: int, m: int, d: int) -> dict:
    """Each shape has labels, pairs and a seed of its own."""
    return {"labels": (n + m + d) % 4 > 0, "paired": (n + m + d) % 4 < 3, "seed": n + m + d}


def ragged(op: str, shape: tuple[int, int, int]) -> Problem:
    return make(op, *shape, **settings_of(*shape))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", RAGGED, ids=str)
def test_float32(op, shape):
    problem = ragged(op, shape)
    right = truth(problem, torch.float32)
    for impl in ("reference", "tiled"):
        single = problem.to(torch.float32)
        agrees(run(single.kernel(impl), single.inputs), *right)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", RAGGED, ids=str)
def test_float64(op, shape):
    problem = ragged(op, shape)
    right = run(problem.twin(), problem.inputs)
    for impl in ("reference", "tiled"):
        found = run(problem.kernel(impl), problem.inputs)
        torch.testing.assert_close(found.all(), right.all(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", HALF, ids=str)
def test_half_precision(op, shape, dtype):
    for impl in ("reference", "tiled"):
        check(ragged(op, shape), impl, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("impl", ["reference", "tiled"])
@pytest.mark.parametrize("op", OPS)
def test_half_precision_sums_in_float32(op, impl, dtype):
    half = make(op, 33, 33, 16).to(dtype)
    single = half.to(torch.float32)
    found, wide = run(half.kernel(impl), half.inputs), run(single.kernel(impl), single.inputs)
    assert found.value.dtype == torch.float32
    for narrow, gradient in zip(found.all(), wide.all(), strict=True):
        torch.testing.assert_close(narrow, gradient.to(narrow.dtype), rtol=0, atol=0)


@pytest.mark.skipif("triton" not in IMPLS, reason="Triton does not run here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", INTERPRETED, ids=str)
def test_triton(op, shape, dtype):
    check(ragged(op, shape), "triton", dtype)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("width", WIDTHS)
def test_all_shapes(op, width):
    for place, (n, m) in enumerate(itertools.product(SIZES, SIZES)):
        problem = ragged(op, (n, m, width))
        for dtype in (torch.float32, (torch.float16, torch.bfloat16)[place % 2]):
            right = truth(problem, dtype)
            for impl in ("reference", "tiled"):
                typed = problem.to(dtype)
                agrees(run(typed.kernel(impl), typed.inputs), *right)
