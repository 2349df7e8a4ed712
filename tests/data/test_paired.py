from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.data.order import EpochSampler
from xdistill.data.paired import PairedDataset
from xdistill.data.rows import RowView
from xdistill.types import Outputs, PairedSample


class Files:
    """A lazy column that remembers which rows were read."""

    def __init__(self, values: torch.Tensor):
        self.values = values
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> torch.Tensor:
        self.read.append(row)
        return self.values[row]


def pairs(rows: int = 6, **changes) -> PairedDataset:
    options = {
        "inputs": {
            "video": torch.arange(rows).float().view(-1, 1).expand(rows, 4).clone(),
            "eeg": Files(10 + torch.arange(rows).float().view(-1, 1)),
        },
        "target": [row % 3 - (row == 5) * 3 for row in range(rows)],
        "classes": ("w", "n", "r"),
        "group": [row // 2 for row in range(rows)],
        "valid": {"eeg": [row != 1 for row in range(rows)]},
        "ids": [f"clip{row}" for row in range(rows)],
        "start_s": [30.0 * row for row in range(rows)],
    }
    return PairedDataset(**{**options, **changes})


def test_a_row():
    sample = pairs()[2]
    assert sample.inputs["video"].tolist() == [2, 2, 2, 2]
    assert sample.inputs["eeg"].tolist() == [12]
    assert (sample.target, sample.valid, sample.index, sample.group) == (2, {"eeg": True}, 2, 1)


def test_a_missing_modality_is_not_read():
    dataset = pairs()
    assert set(dataset[1].inputs) == {"video"}
    assert dataset.inputs["eeg"].read == []


def test_transforms_apply_when_a_row_is_read():
    dataset = pairs(transforms={"eeg": lambda x: x * 2})
    assert dataset.read("eeg", 3).item() == 26
    assert dataset[3].inputs["eeg"].item() == 26


def test_collate_fills_what_is_missing_with_zeros():
    dataset = pairs()
    batch = collate([dataset[row] for row in (0, 1, 5)])
    assert batch.inputs["eeg"].tolist() == [[10], [0], [15]]
    assert batch.valid["eeg"].tolist() == [True, False, True]
    assert batch.target.tolist() == [0, 1, -1]
    assert batch.index.tolist() == [0, 1, 5]
    assert batch.group.tolist() == [0, 0, 2]
    assert batch.target.dtype == batch.index.dtype == batch.group.dtype == torch.int64
    assert len(batch) == 3


def test_collate_of_different_shapes_names_the_modality():
    dataset = pairs(inputs={"eeg": [torch.zeros(1 + row % 2) for row in range(6)]}, valid={})
    with pytest.raises(ValueError, match=r"eeg: rows of one batch have shapes \[\(1,\), \(2,\)\]"):
        collate([dataset[0], dataset[1]])


def test_collate_of_cached_outputs():
    outputs = Outputs(torch.rand(6, 3), torch.rand(6, 2), {"layer": torch.rand(6, 2, 2)})
    dataset = pairs(cached={"ecg": outputs}).subset([4, 2])
    batch = collate([dataset[0], dataset[1]])
    assert torch.equal(batch.cached["ecg"].embedding, outputs.embedding[[4, 2]])
    assert torch.equal(batch.cached["ecg"].logits, outputs.logits[[4, 2]])
    assert torch.equal(batch.cached["ecg"].hidden["layer"], outputs.hidden["layer"][[4, 2]])
    without = pairs(cached={"ecg": Outputs(torch.rand(6, 3))})
    assert collate([without[0]]).cached["ecg"].logits is None


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_a_subset_of_a_subset(rows, data):
    dataset = pairs()
    again = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    subset = dataset.subset(rows).subset(np.array(again))
    direct = dataset.subset([rows[k] for k in again])
    assert len(subset) == len(again)
    for k in range(len(again)):
        one, two = subset[k], direct[k]
        assert one.target == two.target and one.group == two.group and one.index == k
        assert one.valid == two.valid and subset.ids[k] == direct.ids[k]
        assert {m: x.tolist() for m, x in one.inputs.items()} == {
            m: x.tolist() for m, x in two.inputs.items()
        }
    assert subset.start_s.tolist() == direct.start_s.tolist()


def test_a_subset_reads_nothing_and_takes_a_mask():
    dataset = pairs()
    subset = dataset.subset(dataset.target == 0)
    assert dataset.inputs["eeg"].read == []
    assert subset.ids == ("clip0", "clip3")
    assert isinstance(subset.inputs["eeg"], RowView)
    assert subset.subset(np.array([False, True])).ids == ("clip3",)
    with pytest.raises(ValueError, match="mask of 2 rows cannot select from a dataset of 6"):
        dataset.subset([True, False])


@pytest.mark.parametrize("rows", [[], torch.zeros(6, dtype=torch.bool), np.array([], dtype=int)])
def test_an_empty_subset(rows):
    with pytest.raises(ValueError, match="the subset has no rows"):
        pairs().subset(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": [0, 1]}, "columns of one length, got .*'target': 2"),
        ({"group": [1]}, "'group': 1"),
        ({"ids": ["a"]}, "'ids': 1"),
        ({"start_s": [0.0]}, "'start_s': 1"),
        ({"valid": {"eeg": [True]}}, "'eeg'.*: 1"),
        ({"inputs": {"eeg": torch.zeros(5, 1)}}, "'eeg'.*: 5"),
        ({"cached": {"eeg": Outputs(torch.zeros(4, 2))}}, "cached.*'eeg'.*: 4"),
        ({"target": [0, 1, 2, 0, 1, 3]}, r"row 5 \(clip5\) has target 3, expected -1"),
        ({"target": [0, -2, 2, 0, 1, 2]}, r"row 1 \(clip1\) has target -2, expected -1"),
    ],
)
def test_columns_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        pairs(**changes)


def test_no_rows():
    with pytest.raises(ValueError, match="at least one row"):
        PairedDataset({}, [], classes=["a"])


def test_defaults():
    dataset = PairedDataset({"eeg": torch.zeros(3, 1)}, [0, 0, 0], classes=["a"])
    assert dataset.group.tolist() == [0, 1, 2]
    assert dataset.ids == ("0", "1", "2")
    assert dataset.modalities == ("eeg",)
    assert collate([dataset[0]]).valid == {}


def test_replace_leaves_the_rest():
    dataset = pairs()
    other = dataset.replace(target=[0] * 6)
    assert other.ids == dataset.ids and other.classes == dataset.classes
    assert torch.equal(other.valid["eeg"], dataset.valid["eeg"])
    assert dataset.target.tolist() != other.target.tolist()


@given(st.integers(1, 200), st.integers(0, 2**31), st.integers(0, 50))
def test_the_order_of_an_epoch_follows_from_seed_and_epoch(length, seed, epoch):
    first, second = EpochSampler(length, seed), EpochSampler(length, seed)
    first.set_epoch(epoch)
    list(second)  # a run that was resumed has drawn other numbers before
    second.set_epoch(epoch)
    order = list(first)
    assert order == list(second)
    assert sorted(order) == list(range(length)) and len(first) == length


def test_epochs_and_seeds_differ():
    sampler = EpochSampler(50)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(tuple(sampler))
    assert len({*orders, tuple(EpochSampler(50, seed=1))}) == 4


def test_the_order_is_that_of_every_python_and_machine():
    """Pinned, so that a run that is resumed elsewhere keeps its order."""
    sampler = EpochSampler(8, seed=3)
    sampler.set_epoch(2)
    assert list(sampler) == [6, 1, 3, 5, 2, 4, 7, 0]


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="the seed of a shuffle is 0 or more, got -1"):
        paired_loader(pairs(), 4, shuffle=True, seed=-1)


def test_a_loader_passes_over_every_row_once():
    loader = paired_loader(pairs(), 4, shuffle=True, seed=3)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 2]
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(6))
    assert [len(batch) for batch in paired_loader(pairs(), 4, drop_last=True)] == [4]
    ordered = paired_loader(pairs(), 4)
    assert torch.cat([batch.index for batch in ordered]).tolist() == list(range(6))


def test_a_batch_in_which_no_row_has_the_teacher():
    dataset = pairs(valid={"eeg": [row > 2 for row in range(6)]})
    first, second = paired_loader(dataset, 3)
    assert first.inputs["eeg"].tolist() == [[0], [0], [0]]
    assert first.valid["eeg"].tolist() == [False] * 3
    assert second.inputs["eeg"].tolist() == [[13], [14], [15]]
    (batch,) = paired_loader(pairs(valid={"eeg": [False] * 6}), 6)
    assert set(batch.inputs) == {"video"}


def test_workers_deliver_the_same_rows():
    dataset = pairs(rows=6, transforms={"video": torch.Tensor.neg})
    alone = list(paired_loader(dataset, 4, shuffle=True))
    shared = list(paired_loader(dataset, 4, shuffle=True, num_workers=1))
    for one, two in zip(alone, shared, strict=True):
        assert torch.equal(one.index, two.index)
        assert torch.equal(one.inputs["video"], two.inputs["video"])
        assert torch.equal(one.valid["eeg"], two.valid["eeg"])


def test_a_dataset_can_be_pickled():
    dataset = pickle.loads(pickle.dumps(pairs().subset([3, 0])))
    assert isinstance(dataset[0], PairedSample)
    assert dataset.ids == ("clip3", "clip0")


def test_rows_of_several_classes():
    target = torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1], [1, 1, 1], [0, 1, -1], [0, 0, 1]])
    dataset = pairs(target=target)
    assert dataset.multi_label and not pairs().multi_label
    assert torch.equal(dataset[4].target, target[4])
    batch = next(iter(paired_loader(dataset.subset([3, 1]), 2)))
    assert torch.equal(batch.target, target[[3, 1]]) and batch.target.dtype == torch.int64


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([[0, 1]] * 6, r"shape \[6, 2\], expected \[6\] for one class a row or \[6, 3\]"),
        ([[0, 1, 0]] * 5 + [[0, 2, 0]], r"row 5 \(clip5\) has target 2, expected .* 0 to 1"),
        ([[0, 1, 0]] * 5 + [[0, -2, 0]], r"row 5 \(clip5\) has target -2"),
        ([[0, 0.5, 1]] * 6, "not whole numbers"),
        ([0.0, 1.0, 2.0, 0.0, 1.0, float("nan")], "not whole numbers"),
    ],
)
def test_several_classes_that_are_none(target, message):
    with pytest.raises(ValueError, match=message):
        pairs(target=target)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=7),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_rows_read_at_once_are_those_read_one_by_one(rows, has, transformed, several):
    data = pairs(
        valid={"eeg": has, "video": has[::-1]},
        transforms={"video": lambda row: 2 * row} if transformed else {},
        target=torch.eye(3, dtype=torch.int64).repeat(2, 1) if several else [0, 1, 2, 0, 1, -1],
        cached={
            "audio": Outputs(torch.randn(6, 2), torch.randn(6, 3), {"layer": torch.rand(6, 1)})
        },
    )
    view = data.__getitems__(rows)
    assert [sample.index for sample in view] == rows
    at_once, one_by_one = view.batch(), collate([data[row] for row in rows])
    assert at_once.inputs.keys() == one_by_one.inputs.keys()
    for name, column in one_by_one.inputs.items():
        assert torch.equal(at_once.inputs[name], column)
        assert at_once.inputs[name].dtype == column.dtype
    for name in ("target", "index", "group"):
        assert torch.equal(getattr(at_once, name), getattr(one_by_one, name))
    assert at_once.valid.keys() == one_by_one.valid.keys()
    assert all(torch.equal(at_once.valid[name], mask) for name, mask in one_by_one.valid.items())
    ours, theirs = at_once.cached["audio"], one_by_one.cached["audio"]
    assert torch.equal(ours.embedding, theirs.embedding) and torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.hidden["layer"], theirs.hidden["layer"])


def test_a_batch_does_not_share_memory_with_the_data_set():
    data = pairs(valid={})
    batch = next(iter(paired_loader(data, 6)))
    batch.inputs["video"].zero_()
    assert data.inputs["video"][3].tolist() == [3, 3, 3, 3]
