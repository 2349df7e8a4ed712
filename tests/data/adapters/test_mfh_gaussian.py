"""The generated study: what is shared, what is noise, and the authors' order of draws."""

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.mfh_gaussian import CARD, mfh_gaussian


def shared_channels(part: xd.PairedDataset) -> int:
    """How many of the teacher's channels equal one of the student's."""
    teacher, student = part.inputs["teacher"], part.inputs["student"]
    return int((teacher[:, :, None] == student[:, None]).all(dim=0).sum())


@pytest.mark.parametrize(
    ("study", "share", "shared"),
    [("gamma", g, n) for g, n in ((0.0, 0), (0.11, 2), (0.25, 4), (0.43, 6), (0.67, 8), (1.0, 10))]
    + [("gamma", 1 / 19, 1), ("alpha", 0.0, 10), ("alpha", 0.5, 10), ("alpha", 0.8, 10)],
)
def test_the_share_of_a_study(study, share, shared):
    splits = xd.create_dataset("mfh_gaussian", **{study: share}, seed=3)
    assert [len(part) for part in splits] == [200, 200, 1000]
    xd.check_disjoint(splits)
    for part in splits:
        assert shared_channels(part) == shared
        assert part[0].inputs["student"].shape == (50,)
        assert part[0].inputs["teacher"].shape == ((25,) if study == "gamma" else (50,))
        assert 0.3 < float(part.target.double().mean()) < 0.7


def test_the_draws_are_those_of_the_authors_script():
    random = np.random.RandomState(7)
    plane = random.randn(500)[:20]
    decisive = random.randn(200, 20)
    student = random.randn(200, 50)
    student[:, :10] = decisive[:, :10]
    train = mfh_gaussian(gamma=0.25, seed=7).train
    assert np.array_equal(train.inputs["student"].numpy(), student.astype(np.float32))
    assert np.array_equal(train.target.numpy(), decisive @ plane > 0)
    decisive = np.random.RandomState(8).randn(1000, 20)
    test = mfh_gaussian(gamma=0.25, seed=7).test
    assert np.array_equal(test.target.numpy(), decisive @ plane > 0)


def test_a_teacher_who_sees_all_that_decides_learns_the_plane():
    rows = {"train_rows": 2000, "val_rows": 500}
    train, val, _ = mfh_gaussian(alpha=0.8, seed=1, **rows)
    weights = torch.linalg.lstsq(train.inputs["teacher"], train.target[:, None].float() - 0.5)[0]
    found = (val.inputs["teacher"] @ weights)[:, 0] > 0
    assert (found == val.target).double().mean() > 0.9


def test_everything_follows_from_the_seed():
    first, second = mfh_gaussian(alpha=0.5, seed=4), mfh_gaussian(alpha=0.5, seed=4)
    other = mfh_gaussian(alpha=0.5, seed=5)
    for name in xd.Splits._fields:
        teacher = getattr(first, name).inputs["teacher"]
        assert torch.equal(teacher, getattr(second, name).inputs["teacher"])
        assert not torch.equal(teacher, getattr(other, name).inputs["teacher"])
    longer = mfh_gaussian(alpha=0.5, seed=4, val_rows=7)
    assert torch.equal(longer.test.inputs["teacher"], first.test.inputs["teacher"])
    assert len(longer.val) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either gamma or alpha, got gamma=None and alpha=None"),
        ({"gamma": 0.0, "alpha": 0.0}, "either gamma or alpha"),
        ({"gamma": 0.5}, r"gives gamma=0.5; pass one of 0.00, 0.05, 0.11, .*, 1.00"),
        ({"alpha": 0.9}, "gives alpha=0.9; pass one of"),
        ({"alpha": float("nan")}, "alpha=nan"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        mfh_gaussian(**options)


def test_the_card():
    assert CARD.name in xd.list_datasets()
    assert {name for pair in CARD.pairs for name in pair} == set(
        mfh_gaussian(gamma=1.0).train.modalities
    )
