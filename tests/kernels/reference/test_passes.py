"""Which pairs the reference counts, and its numerically delicate formula."""

from __future__ import annotations

import itertools
import math

import torch

from tests.losses.loops import candidates, optional, same_kind
from xdistill.kernels.keys import Keys, Rows
from xdistill.kernels.reference.passes import log_complement, pairs_of


def test_every_labelling_of_three_rows():
    masks = list(itertools.product([True, False], repeat=3))
    labellings = [None, *itertools.product([-1, 0, 1], repeat=3)]
    for keep, target in itertools.product(masks, labellings):
        there, label = torch.tensor(keep), optional(target)
        x = torch.zeros(3, 2)
        pairs = pairs_of(Rows(x, label, there), [Keys(x, label, there, own=0)])
        for i, j in itertools.product([n for n in range(3) if keep[n]], range(3)):
            both = keep[j]
            kind = same_kind(i, j, target)
            assert pairs.candidate[i, j] == (both and j in candidates(i, 3, target))
            assert pairs.positive[i, j] == (both and kind is True)
            assert pairs.negative[i, j] == (both and kind is False)
        assert not (pairs.positive & ~pairs.candidate).any()
        assert not (pairs.negative & ~pairs.candidate).any()


def test_log_complement_where_a_probability_rounds_to_one():
    scores = torch.tensor([[60.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-90.0, 90.0, 0.0]])
    exact = math.log(math.exp(-60) + math.exp(-59))
    value = log_complement(scores)
    torch.testing.assert_close(value[0, 0], torch.tensor(exact))
    torch.testing.assert_close(value[1], torch.full((3,), math.log(2 / 3)))
    torch.testing.assert_close(value[2, 1], torch.tensor(-90.0))
    assert torch.isfinite(value).all()
