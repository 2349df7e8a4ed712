"""Rows and keys: what is refused, how they are cleaned, and how positives are counted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.kernels.problems import LABELLED, OPS, Problem, make
from xdistill.kernels import infonce
from xdistill.kernels.keys import (
    Keys,
    Rows,
    check_beside,
    check_labels,
    check_rows,
    count_negatives,
    count_positives,
    prepare,
    working_dtype,
)
from xdistill.kernels.reference.passes import pairs_of

every_op = pytest.mark.parametrize("op", OPS)
labelled = pytest.mark.parametrize("op", LABELLED)


def refused(problem: Problem, message: str, **rest) -> None:
    with pytest.raises(ValueError, match=message):
        problem.having(**rest).kernel("auto")(*problem.inputs)


@every_op
def test_widths_that_differ(op):
    a, _, *numbers = make(op, 4, 4, 3).inputs
    problem = Problem(op, (a, torch.zeros(4, 5).double(), *numbers))
    refused(problem, rf"{op}: rows and keys .* got \[4, 3\] and \[4, 5\]; project")


@every_op
def test_extra_keys_of_another_width(op):
    problem = make(op, 4, 4, 3)
    refused(problem, rf"{op}: extra keys must be \[L, 3\], got \[6, 2\]", extra=torch.zeros(6, 2))


@every_op
def test_masks_of_another_length(op):
    problem = make(op, 4, 4, 3)
    short = torch.ones(3, dtype=torch.bool)
    for name, rows in [("valid", 4), ("extra_valid", 5)]:
        message = rf"{op}: {name} must have one entry for each of {rows} rows, got shape \[3\]"
        refused(problem, message, **{name: short})


@every_op
def test_a_mask_of_extra_keys_without_the_keys(op):
    problem = make(op, 4, 4, 3).having(extra=None)
    if op in LABELLED:
        refused(problem, f"{op}: extra_labels was given without the rows")
        problem = problem.having(extra_labels=None)
    refused(problem, f"{op}: extra_valid was given without the rows that it describes")


@labelled
def test_vectors_of_another_length(op):
    problem = make(op, 4, 4, 3)
    for name in ("row_labels", "key_labels", "extra_labels"):
        refused(problem, f"{op}: {name} must have one entry", **{name: torch.zeros(9).long()})
    refused(problem, f"{op}: key_valid must have one entry", key_valid=torch.ones(9).bool())


@labelled
def test_labels_on_one_side(op):
    problem = make(op, 4, 4, 3)
    for name in ("row_labels", "key_labels", "extra_labels"):
        refused(problem, f"{op}: labels are needed on both sides .*, {name} is missing; -1 marks",
                **{name: None})  # fmt: skip


@labelled
def test_neither_labels_nor_pairs(op):
    problem = make(op, 4, 4, 3, labels=False, paired=False)
    refused(
        problem,
        f"{op}: without labels and without pairs no key is a positive; give row_labels",
    )


def test_what_fits_is_let_through():
    x = torch.zeros(3, 2)
    check_rows("op", x, torch.zeros(0, 2), torch.zeros(7, 2))
    check_beside("op", valid=(None, x), row_labels=(torch.zeros(3), x), none=(None, None))
    check_labels("op", None, None, "key_labels")
    check_labels("op", x, x, "key_labels")


def test_rows_that_are_no_matrix():
    with pytest.raises(ValueError, match=r"got \[3\] and \[3, 2\]"):
        check_rows("op", torch.zeros(3), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"extra keys must be \[L, 2\], got \[2\]"):
        check_rows("op", torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(2))


def test_prepared_rows_are_scaled_and_clean():
    x = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf]]).half()
    keep = torch.tensor([True, False])
    rows = prepare(x, keep, torch.float32, torch.tensor(3.0))
    torch.testing.assert_close(rows, torch.tensor([[3.0, 6.0], [0.0, 0.0]]))
    assert prepare(x, keep, torch.float16, 3.0).dtype == torch.float16


def test_a_scale_is_applied_before_half_precision_rounds():
    x = torch.tensor([[60000.0]]).half()
    assert prepare(x, None, torch.float32, 100.0).item() == pytest.approx(6e6, rel=1e-3)


@pytest.mark.parametrize("impl", ["reference", "tiled", "triton"])
def test_working_dtype(impl):
    half, single, double = (
        torch.zeros(1, dtype=d) for d in (torch.half, torch.float, torch.double)
    )
    assert working_dtype(impl, single, single) == torch.float32
    assert working_dtype(impl, half, single) == torch.float32
    assert working_dtype(impl, single, double) == torch.float64
    assert working_dtype(impl, half) == (torch.float16 if impl == "triton" else torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = torch.bfloat16 if impl == "triton" else torch.float32
        assert working_dtype(impl, single) == expected


label = st.integers(-1, 2)


@given(data=st.data(), own=st.none() | st.integers(-4, 6))
def test_counts_are_those_of_the_masks(data, own):
    n, m = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 6))

    def draw(element, size, dtype):
        return torch.tensor(data.draw(st.lists(element, min_size=size, max_size=size)), dtype=dtype)

    labels = data.draw(st.booleans())
    row_labels, key_labels = (
        (draw(label, size, torch.int64) if labels else None) for size in (n, m)
    )
    valid = draw(st.booleans(), m, torch.bool) if data.draw(st.booleans()) else None
    rows, keys = (
        Rows(torch.zeros(n, 1), row_labels),
        Keys(torch.zeros(m, 1), key_labels, valid, own),
    )
    pairs = pairs_of(rows, [keys])
    assert count_positives(rows, keys).tolist() == pairs.positive.sum(dim=1).tolist()
    assert count_negatives(rows, keys).tolist() == pairs.negative.sum(dim=1).tolist()


@pytest.mark.parametrize("shape", [(4,), (6, 1)])
def test_a_scale_is_one_number(shape):
    rows = F.normalize(torch.randn(6, 4))
    with pytest.raises(ValueError, match="single numbers, got a tensor of shape"):
        infonce(rows, rows, torch.ones(shape))
