import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from tests.toy import toy_data, toy_encoders
from xdistill.data.labels import hide_labels
from xdistill.data.loader import paired_loader
from xdistill.data.order import TwoStreams
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.cross_entropy import CrossEntropy

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def drawn(streams: TwoStreams, epoch: int = 0) -> list[list[int]]:
    streams.set_epoch(epoch)
    return list(BatchSampler(streams, streams.batch_size, drop_last=False))


@settings(max_examples=50)
@given(
    st.integers(1, 20), st.integers(1, 60), st.integers(2, 16), st.integers(0, 5), st.booleans(),
    st.data(),
)  # fmt: skip
def test_every_batch_has_its_share_and_every_unlabelled_row_comes_once(
    few, many, batch_size, epoch, balanced, data
):
    per_batch = data.draw(st.integers(1, batch_size - 1))
    target = torch.cat([torch.arange(few) % 3, torch.full((many,), -1)])
    target = target[torch.randperm(len(target))]
    streams = TwoStreams(target, batch_size, per_batch, balanced=balanced, seed=7)
    batches = drawn(streams, epoch)
    assert len(batches) == streams.batches and sum(map(len, batches)) == len(streams)
    for batch in batches:
        assert sum(int(target[row]) >= 0 for row in batch) == per_batch
    rows = [row for batch in batches for row in batch]
    assert (
        sorted(row for row in rows if target[row] < 0) == (target < 0).nonzero().flatten().tolist()
    )
    if not balanced:  # no labelled row comes twice more often than another
        counts = torch.bincount(torch.tensor(rows), minlength=len(target))[target >= 0]
        assert int(counts.max() - counts.min()) <= 1
    assert drawn(streams, epoch) == batches


def test_epochs_and_seeds_have_orders_of_their_own():
    target = torch.arange(40) % 4 - 1
    one, other = TwoStreams(target, 8, 3, seed=0), TwoStreams(target, 8, 3, seed=1)
    assert drawn(one, 0) != drawn(one, 1) != drawn(other, 1)


def test_balanced_classes_come_equally_often():
    target = torch.tensor([0] * 30 + [1] * 3 + [2] * 1 + [-1] * 120)
    rows = [row for batch in drawn(TwoStreams(target, 16, 6, balanced=True)) for row in batch]
    counts = torch.bincount(target[rows].clamp(min=-1) + 1)[1:]
    assert counts.tolist() == [24, 24, 24]  # 12 batches of 6


def test_rows_of_several_classes_are_labelled_where_one_entry_is_known():
    target = torch.tensor([[-1, -1], [0, -1], [1, 0], [-1, -1], [-1, -1]])
    batches = drawn(TwoStreams(target, 3, 1))
    assert sorted(row for batch in batches for row in batch if row in (0, 3, 4)) == [0, 3, 4]
    assert all(len({1, 2} & set(batch)) == 1 for batch in batches)


@pytest.mark.parametrize(
    ("target", "per_batch", "balanced", "message"),
    [
        ([0, -1], 0, False, "from 1 to batch_size - 1 = 3.*got 0"),
        ([0, -1], 4, False, "from 1 to batch_size - 1 = 3.*got 4"),
        ([0, -1], 2.5, False, "from 1 to batch_size - 1 = 3.*got 2.5"),
        ([0, -1], True, False, "from 1 to batch_size - 1 = 3.*got True"),
        ([0, 1], 2, False, "no row is unlabelled"),
        ([-1, -1], 2, False, "no row is labelled"),
        ([[0, 1], [-1, -1]], 2, True, "several classes"),
    ],
)
def test_what_cannot_be_mixed_is_refused(target, per_batch, balanced, message):
    with pytest.raises(ValueError, match=message):
        TwoStreams(torch.tensor(target), 4, per_batch, balanced=balanced)


def test_the_loader_needs_a_shuffle():
    data = toy_data(unlabelled=30)
    with pytest.raises(ValueError, match="need labelled_per_batch and shuffle=True"):
        paired_loader(data, 8, labelled_per_batch=2)
    with pytest.raises(ValueError, match="need labelled_per_batch and shuffle=True"):
        paired_loader(data, 8, shuffle=True, balanced=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_task_sees_labels_in_every_step_of_a_training(workers):
    data = hide_labels(toy_data(240), 0.05)
    seen = []

    class Counting(CrossEntropy):
        def forward(self, student, teacher, target=None, **kwargs):
            seen.append((int((target >= 0).sum()), len(target)))
            return super().forward(student, teacher, target, **kwargs)

    train = paired_loader(
        data, 16, shuffle=True, labelled_per_batch=4, balanced=True, num_workers=workers
    )
    fit(Distiller(toy_encoders()[0], None, Counting()), train, max_epochs=2, **QUIET)
    assert len(seen) == 2 * len(train) == 2 * 19
    assert all(count == 4 for count, _ in seen) and seen[0][1] == 16
