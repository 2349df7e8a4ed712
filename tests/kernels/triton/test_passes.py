"""The Triton passes over several tiles, against the tiled ones; natively where there is a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.kernels.pass_arguments import PASSES, arguments, operator, operator_backward
from tests.kernels.problems import IMPLS
from xdistill.kernels.passes import affinity_stats, row_column_lse

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(65, 257, 100), (100, 65, 17), (64, 64, 300)]
OWNS = (None, 0, -3, 70)

pytestmark = pytest.mark.skipif("triton" not in IMPLS, reason="Triton does not run here")


def moved(inputs) -> list:
    return [x.to(DEVICE) if isinstance(x, Tensor) else x for x in inputs]


def close(found, expected) -> None:
    for one, two in zip(found, expected, strict=True):
        two = two.to(one.dtype)
        size = max(two.abs().max().item(), 1.0) if two.numel() else 1.0
        torch.testing.assert_close(one / size, two / size, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
@pytest.mark.parametrize("name", PASSES)
def test_a_pass_over_several_tiles(name, n, m, d):
    forward, backward = operator(name), operator_backward(name)
    owns = OWNS if d == 17 else (None, 3)
    for inputs, all_inputs in arguments(name, n, m, d, owns=owns):
        inputs, all_inputs = moved(inputs), moved(all_inputs)
        for call, given in ((forward, inputs), (backward, all_inputs)):
            found, expected = (call(*given, impl) for impl in ("triton", "tiled"))
            if isinstance(found, Tensor):
                found, expected = (found,), (expected,)
            close(found, expected)


@pytest.mark.parametrize("name", PASSES)
def test_one_gradient_alone(name):
    for need in [(True, False), (False, True)]:
        for _, inputs in arguments(name, 66, 30, 5, need=need, owns=(0,)):
            call = operator_backward(name)
            found, expected = (call(*moved(inputs), impl) for impl in ("triton", "tiled"))
            assert [x.shape for x in found] == [x.shape for x in expected]
            close(found, expected)


def test_columns_are_put_together_from_chunks_of_rows_and_splits_of_keys(monkeypatch):
    from xdistill.kernels.triton import passes as triton_kernels

    for inputs, _ in arguments("row_column_lse", 200, 300, 9):
        whole = row_column_lse.operator(*moved(inputs), "tiled")
        for numbers, splits in [(1, 1), (700, 3), (2**24, 8)]:
            monkeypatch.setattr(triton_kernels, "PARTIAL_NUMBERS", numbers)
            monkeypatch.setattr(triton_kernels, "SPLITS", splits)
            close(row_column_lse.operator(*moved(inputs), "triton"), whole)


@pytest.mark.parametrize(
    ("n", "m", "d", "e"), [(65, 130, 17, 100), (100, 100, 70, 3), (3, 1, 1, 2)]
)
@pytest.mark.parametrize("own", [None, 0, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_two_softmaxes(n, m, d, e, own, masked):
    g = torch.Generator().manual_seed(n)
    x, k = (5 * normalize(torch.randn(c, d, generator=g), dim=1) for c in (n, m))
    tx, tk = (5 * normalize(torch.randn(c, e, generator=g), dim=1) for c in (n, m))
    valid = torch.rand(m, generator=g) < 0.8 if masked else None
    k, tk = (y if valid is None else y * valid[:, None] for y in (k, tk))
    inputs = moved((x, k, tx, tk, valid, own))
    expected = affinity_stats.operator(*inputs, "tiled")
    close(affinity_stats.operator(*inputs, "triton"), expected)
    up = moved(torch.randn(n, generator=g) for _ in range(2))
    # A row without candidates has no softmax; the public function gives it no gradient.
    up = [y * (expected[0] > -1e29) for y in up]
    gradients = affinity_stats.operator_backward
    found, wanted = (
        gradients(*inputs, *expected[:2], *up, True, True, impl) for impl in ("triton", "tiled")
    )
    close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", PASSES)
def test_half_precision_is_summed_in_float32(name, dtype):
    """Scores are exact sums of rounded rows; slopes are rounded once more on a GPU."""
    for inputs, all_inputs in arguments(name, 70, 66, 33, owns=(0,)):
        rounded = [moved((x.to(dtype), k.to(dtype), *rest)) for x, k, *rest in (inputs, all_inputs)]
        exact = [(x.float(), k.float(), *rest) for x, k, *rest in rounded]
        calls = operator(name), operator_backward(name)
        for call, half, wide in zip(calls, rounded, exact, strict=True):
            found, expected = call(*half, "triton"), call(*wide, "tiled")
            if isinstance(found, Tensor):
                found, expected = (found,), (expected,)
            allowed = 1e-2 if dtype == torch.bfloat16 else 2e-3
            for one, two in zip(found, expected, strict=True):
                assert one.dtype == two.dtype
                size = max(two.abs().max().item(), 1.0) if two.numel() else 1.0
                assert ((one - two).abs() <= allowed * size).all()


@pytest.mark.parametrize("name", PASSES)
def test_two_runs_agree_to_the_bit_whatever_memory_held(name):
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        for _, inputs in arguments(name, 70, 66, 9, owns=(0,)):
            call = operator_backward(name)
            first, second = (call(*moved(inputs), "triton") for _ in range(2))
            assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
            assert all(x.isfinite().all() for x in first)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PASSES)
def test_large_on_a_gpu(name, dtype):
    for inputs, all_inputs in arguments(name, 4099, 8195, 512, owns=(0,)):
        for call, given in ((operator(name), inputs), (operator_backward(name), all_inputs)):
            x, k, *rest = moved(given)
            found = call(x.to(dtype), k.to(dtype), *rest, "triton")
            expected = call(x.to(dtype).float(), k.to(dtype).float(), *rest, "tiled")
            if isinstance(found, Tensor):
                found, expected = (found,), (expected,)
            for one, two in zip(found, expected, strict=True):
                size = max(two.abs().max().item(), 1.0)
                allowed = 1e-2 if dtype == torch.bfloat16 else 1e-4
                assert ((one - two).abs() <= allowed * size).all()
