"""Tiles: their borders, their memory, and that no number is read before it is written."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.pass_arguments import PASSES, arguments
from tests.kernels.problems import IMPLS, LABELLED, OPS, make, run
from tests.losses.largest_tensor import LargestTensor
from xdistill.kernels.tiled import passes as tiled

every_op = pytest.mark.parametrize("op", OPS)


@contextmanager
def tiles_of(rows: int, keys: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "ROWS", rows)
        patch.setattr(tiled, "KEYS", keys)
        yield


@contextmanager
def poisoned():
    """New memory is filled with NaN, and a nondeterministic operation is an error."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        assert torch.ones(2).new_empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("tile", [(1, 1), (3, 5), (5, 3), (16, 2), (7, 64)], ids=str)
@pytest.mark.parametrize("shape", [(13, 13), (5, 17), (17, 5), (16, 16)], ids=str)
@pytest.mark.parametrize("scale", [5.0, 100.0])
@every_op
def test_borders(op, shape, scale, tile):
    problem = make(op, *shape, 4, scale=scale, extra=9)
    right = run(problem.twin(), problem.inputs)
    with tiles_of(*tile):
        found = run(problem.kernel("tiled"), problem.inputs)
    torch.testing.assert_close(found.all(), right.all(), rtol=1e-9, atol=1e-10)


@every_op
def test_the_largest_score_may_lie_in_any_tile(op):
    problem = make(op, 12, 12, 12, scale=100.0, unknown=0.0, absent=0.0, extra=None)
    _, _, *numbers = problem.inputs
    eye = torch.eye(12, dtype=torch.float64)
    for shift in range(12):
        inputs = (eye.roll(shift, dims=0), eye, *numbers)
        with tiles_of(4, 4):
            found = run(problem.kernel("tiled"), inputs)
        right = run(problem.twin(), inputs)
        torch.testing.assert_close(found.all(), right.all(), rtol=1e-9, atol=1e-10)


def test_of_equal_scores_in_several_tiles_the_first_is_apart():
    x, k = torch.ones(2, 1), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    for width in (1, 2, 3):
        with tiles_of(1, width):
            assert tiled.top_lse(x, k, None, None, None, None)[4].tolist() == [1, 1]


@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    d=st.integers(1, 4),
    op=st.sampled_from(OPS),
    scale=st.sampled_from([0.5, 10.0, 80.0]),
    classes=st.integers(1, 4),
    unknown=st.sampled_from([0.0, 0.3, 1.0]),
    absent=st.sampled_from([0.0, 0.3, 1.0]),
    extra=st.one_of(st.none(), st.integers(0, 9)),
    labels=st.booleans(),
    paired=st.booleans(),
    tile=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=150)
def test_tiled_equals_reference(n, m, d, op, tile, labels, paired, **rest):
    # Without labels there must be pairs.
    problem = make(op, n, m, d, labels=labels, paired=paired or not labels, **rest)
    right = run(problem.kernel("reference"), problem.inputs)
    with tiles_of(*tile):
        found = run(problem.kernel("tiled"), problem.inputs)
    torch.testing.assert_close(found.all(), right.all(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("scale", [5.0, 100.0])
@pytest.mark.parametrize("impl", IMPLS)
@every_op
def test_memory_that_holds_nan_before(op, impl, scale):
    problem = make(op, 13, 13, 5, scale=scale).to(torch.float32)
    clean = run(problem.kernel(impl), problem.inputs)
    with tiles_of(4, 4), poisoned():
        found = run(problem.kernel(impl), problem.inputs)
    torch.testing.assert_close(found.all(), clean.all(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("impl", IMPLS)
@every_op
def test_two_runs_agree_bit_for_bit(op, impl):
    problem = make(op, 40, 40, 16).to(torch.float32)
    with tiles_of(16, 16):
        one, two = (run(problem.kernel(impl), problem.inputs) for _ in range(2))
    torch.testing.assert_close(one.all(), two.all(), rtol=0, atol=0)


@pytest.mark.parametrize("impl", IMPLS)
@every_op
def test_the_order_of_pairs_changes_nothing(op, impl):
    problem = make(op, 20, 20, 8).to(torch.float32)
    a, k, *numbers = problem.inputs
    order = torch.randperm(20)
    beside = {
        name: value[order]
        for name, value in problem.rest.items()
        if name in ("row_labels", "key_labels", "valid", "key_valid")
    }
    _agree_in(order, order, problem, problem.having(**beside), (a[order], k[order], *numbers), impl)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("op", LABELLED)
def test_the_order_of_rows_and_that_of_keys_change_nothing(op, impl):
    problem = make(op, 15, 22, 8, paired=False).to(torch.float32)
    (a, k, scale), rest = problem.inputs, problem.rest
    rows, keys, bank = torch.randperm(15), torch.randperm(22), torch.randperm(5)
    moved = problem.having(
        row_labels=rest["row_labels"][rows], valid=rest["valid"][rows],
        key_labels=rest["key_labels"][keys], key_valid=rest["key_valid"][keys],
        **{name: rest[name][bank] for name in ("extra", "extra_labels", "extra_valid")},
    )  # fmt: skip
    _agree_in(rows, keys, problem, moved, (a[rows], k[keys], scale), impl)


def _agree_in(rows, keys, problem, moved, inputs, impl):
    before, after = run(problem.kernel(impl), problem.inputs), run(moved.kernel(impl), inputs)
    value, da, dk, *numbers = before.all()
    expected = (value, da[rows], dk[keys], *numbers)
    torch.testing.assert_close(after.all(), expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [5.0, 100.0])
@pytest.mark.parametrize("name", PASSES)
def test_no_pass_holds_more_than_a_tile(name, scale):
    """Calls the passes directly: the recorder cannot see the tensors inside an operator."""
    n, m, d, tile = 160, 140, 8, 16 * 32
    for forward, backward in arguments(name, n, m, d, scale=scale):
        with tiles_of(16, 32), LargestTensor() as largest:
            getattr(tiled, name)(*forward)
            getattr(tiled, f"{name}_backward")(*backward)
        assert tile <= largest.numbers <= max(tile, n * d), largest.operation


@every_op
def test_nothing_around_the_passes_is_of_rows_times_keys(op):
    n, d = 400, 8
    problem = make(op, n, n, d, extra=300).to(torch.float32)
    with LargestTensor() as whole:
        run(problem.kernel("reference"), problem.inputs)
    with LargestTensor() as largest:
        run(problem.kernel("tiled"), problem.inputs)
    assert whole.numbers >= n * n
    assert largest.numbers <= n * d, largest.operation
