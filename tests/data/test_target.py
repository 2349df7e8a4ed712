"""Targets of every kind in a dataset."""

from __future__ import annotations

import math

import pytest
import torch

import xdistill as xd

NAN = math.nan
VALUES = torch.tensor([[62.0, -1.0], [NAN, NAN], [80.0, NAN], [55.5, 2.0]])
SOFT = torch.tensor([[0.5, 0.25, 0.25], [NAN] * 3, [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])
SEQUENCE = torch.tensor([[0, 1, 2, -1], [-1] * 4, [2, 2, 2, 2], [0, 0, 1, 1]])


def dataset(target, kind, classes=("a", "b", "c"), rows=4, **options) -> xd.PairedDataset:
    return xd.PairedDataset(
        {"tabular": torch.randn(rows, 3)}, target, classes=classes, target_kind=kind, **options
    )


@pytest.mark.parametrize(
    ("target", "kind", "classes"),
    [
        (VALUES, "values", ("rate", "depth")),
        (VALUES.double()[:, 0], "values", ()),
        (SOFT, "soft", ("a", "b", "c")),
        (SEQUENCE, "sequence", ("a", "b", "c")),
    ],
)
def test_a_batch_holds_the_rows_of_the_column(target, kind, classes):
    data = dataset(target, kind, classes)
    wanted = target.float() if target.is_floating_point() else target
    for loader in (xd.paired_loader(data, 4), [xd.collate([data[row] for row in range(4)])]):
        (batch,) = loader
        assert batch.target.dtype == wanted.dtype
        assert torch.equal(batch.target.nan_to_num(7), wanted.nan_to_num(7))
    assert data.labelled.tolist() == [True, False, True, True]
    part = data.subset([0, 3])
    assert part.target_kind == kind and torch.equal(part.target, wanted[[0, 3]])
    assert not data.multi_label


def test_whole_numbers_are_values_where_values_are_asked_for():
    assert dataset([34, 51, 20, 8], "values", ()).target.dtype == torch.float32


@pytest.mark.parametrize(
    ("target", "kind", "classes", "message"),
    [
        (VALUES, None, ("a",), 'target_kind="values" for a regression'),
        ([34.5, 1.0, 2.0, 3.0], None, ("a",), 'target_kind="values"'),
        (VALUES, "value", (), "must be one of .*'values'.*got 'value'"),
        (VALUES, "values", ("a", "b", "c"), "names 3 values, the target has 2"),
        ([1.0, math.inf, 0.0, 0.0], "values", (), "row 1 .*infinite target"),
        (SOFT * 2, "soft", ("a", "b", "c"), "row 0 .*sum to 1"),
        (SOFT[:, 0], "soft", ("a", "b", "c"), r"expects a target \[N, K\].*\[4\]"),
        (SOFT, "soft", ("a", "b"), r"\[4, 3\], expected .*\[4, 2\]"),
        (SEQUENCE, None, ("a", "b", "c"), 'target_kind="sequence"'),
        (SEQUENCE, "sequence", ("a", "b"), "target 2, expected -1 .* 0 to 1"),
        (SEQUENCE[:, 0], "sequence", ("a", "b", "c"), r"expects a target .*\[4\]"),
    ],
)
def test_a_column_that_is_not_of_its_kind_is_refused(target, kind, classes, message):
    with pytest.raises(ValueError, match=message):
        dataset(target, kind, classes)


@pytest.mark.parametrize(
    ("target", "kind"), [(VALUES, "values"), (SOFT, "soft"), (SEQUENCE, "sequence")]
)
def test_hidden_labels_are_unlabelled_and_not_minus_one(target, kind):
    classes = ("a", "b", "c") if kind != "values" else ()
    data = dataset(target.repeat(4, 1), kind, classes, rows=16, group=torch.arange(16) // 4)
    for few in (xd.hide_labels(data, 0.25), xd.keep_labels_of(data, 1)):
        assert int(few.labelled.sum()) == 3
        hidden = few.target[~few.labelled]
        assert (hidden.isnan() if hidden.is_floating_point() else hidden == -1).all()
        assert few.target_kind == kind


@pytest.mark.parametrize(
    ("target", "kind"), [(VALUES, "values"), (SOFT, "soft"), (SEQUENCE, "sequence")]
)
def test_groups_are_split_and_streams_mixed(target, kind):
    classes = ("a", "b", "c") if kind != "values" else ()
    data = dataset(target.repeat(10, 1), kind, classes, rows=40, group=torch.arange(40) // 4)
    splits = xd.split_by_group(data)
    assert sum(map(len, splits)) == 40 and {part.target_kind for part in splits} == {kind}
    loader = xd.paired_loader(data, 4, shuffle=True, labelled_per_batch=2)
    for batch in loader:
        labelled = batch.target.isnan() if kind != "sequence" else batch.target == -1
        assert int((~labelled.flatten(1).all(dim=1)).sum()) == 2
    with pytest.raises(ValueError, match="balanced draws every class"):
        xd.paired_loader(data, 4, shuffle=True, labelled_per_batch=2, balanced=True)


def test_what_needs_a_class_a_row_says_so():
    outputs = xd.Outputs(torch.randn(4, 3), torch.randn(4, 3))
    data = dataset(VALUES[:, 0], "values", ()).with_outputs("eeg", outputs)
    with pytest.raises(ValueError, match="calibrate_teacher takes one class a row"):
        xd.calibrate_teacher(data, "eeg")
    with pytest.raises(ValueError, match="refine_targets takes one class a row"):
        xd.refine_targets(data, "eeg", torch.randn(4, 3))
