from __future__ import annotations

import itertools

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.reducers import MeanReducer

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, TARGETS, close, gradcheck, mean, norm, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.triplet import Triplet, triplet

MINING = ["semihard", "hard", "all"]


def is_positive(i, j, target, positives):
    known = target is not None and target[i] >= 0
    return i == j or (positives == "class" and known and target[i] == target[j])


def is_negative(i, j, target, index):
    if i == j or (index is not None and index[i] == index[j]):
        return False
    if target is None or target[i] < 0:
        return True
    return target[j] >= 0 and target[i] != target[j]


def twin(anchor, key, target, valid, index, margin, mining, positives):
    unit = [[[x / norm(row) for x in row] for row in rows] for rows in (anchor, key)]
    rows = [i for i in range(len(anchor)) if valid is None or valid[i]]
    d = {
        (i, j): sum((x - y) ** 2 for x, y in zip(unit[0][i], unit[1][j], strict=True))
        for i, j in itertools.product(rows, rows)
    }
    costs = []
    for i in rows:
        far = [d[i, j] for j in rows if is_negative(i, j, target, index)]
        for near in (d[i, j] for j in rows if is_positive(i, j, target, positives)):
            chosen = far
            if mining == "hard":
                chosen = sorted(far)[:1]
            if mining == "semihard":
                chosen = sorted(x for x in far if near < x < near + margin)[:1]
            costs.extend(max(near - x + margin, 0.0) for x in chosen)
    return mean(costs)


def test_closed_form():
    # d_ap = 2 − 2·0.8 = 0.4 and d_an = 2 − 2·0.6 = 0.8 for the first anchor: 0.4 − 0.8 + 1 = 0.6.
    # The second has d_ap = 0.8 (cos 0.6) and d_an = 0.4 (cos 0.8), which only "semihard" refuses.
    anchor = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    key = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    value = triplet(anchor, key, margin=1.0, mining="semihard")
    torch.testing.assert_close(value, torch.tensor(0.6))
    for mining in ("hard", "all"):
        value = triplet(anchor, key, margin=1.0, mining=mining)
        torch.testing.assert_close(value, torch.tensor((0.6 + 1.4) / 2))


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("positives", ["pair", "class"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("valid", MASKS)
def test_twin(mining, positives, target, valid):
    anchor, key = rows64(6, 3), rows64(6, 3, seed=1)
    options = {"margin": 0.7, "mining": mining, "positives": positives}
    for index in (None, [4, 9, 4, 0, 1, 2]):
        value = triplet(anchor, key, optional(target), optional(valid), optional(index), **options)
        exact = twin(anchor.tolist(), key.tolist(), target, valid, index, *options.values())
        close(value, exact)


@pytest.mark.parametrize("mining", MINING)
def test_gradcheck(mining):
    valid = torch.tensor([True, True, False, True])
    target = torch.tensor([0, 1, 0, 0])
    gradcheck(
        lambda a, k: triplet(a, k, target, valid, None, 1.5, mining),
        rows64(4, 3),
        rows64(4, 3, seed=2),
    )


@pytest.mark.parametrize("mining", MINING)
def test_nothing_selected_is_exactly_zero(mining):
    """Own pairs coincide and all others are far beyond the margin, or there is one class only."""
    rows = torch.eye(4, requires_grad=True)
    for key, target in (
        (torch.eye(4), None),
        (torch.ones(4, 4), torch.zeros(4, dtype=torch.int64)),
    ):
        value = triplet(rows, key, target, mining=mining)
        (gradient,) = torch.autograd.grad(value, rows)
        assert value == 0
        assert not gradient.any()


def test_lengths_do_not_matter():
    anchor, key = rows64(5, 3), rows64(5, 3, seed=1)
    scales = torch.arange(1, 6).double()[:, None]
    close(triplet(scales * anchor, key / scales), triplet(anchor, key).item())


def test_all_triplets_of_a_large_batch_hold_no_cube():
    """2048 rows: B³ numbers would be 32 GiB."""
    anchor, key = rows64(2048, 2).float(), rows64(2048, 2, seed=1).float()
    assert triplet(anchor, key, mining="all") > 0


def test_symmetric_adds_the_other_direction():
    batch = random_batch()
    one, both = bound_loss("triplet", margin=2.0), bound_loss("triplet", margin=2.0, symmetric=True)
    there = step(one, batch).value
    back = step(one, batch.change(student=batch.teacher, teacher=batch.student)).value
    torch.testing.assert_close(step(both, batch).value, there + back)


def metric_learning(margin, target, mining):
    distance = LpDistance(normalize_embeddings=True, p=2, power=2)
    loss = TripletMarginLoss(margin=margin, distance=distance, reducer=MeanReducer())

    def value(anchor, key):
        if mining == "all":
            return loss(anchor, target, ref_emb=key, ref_labels=target.clone())
        kind = TripletMarginMiner(
            margin=margin if mining == "semihard" else 100.0,  # every triplet, to take its nearest
            type_of_triplets="semihard" if mining == "semihard" else "all",
            distance=distance,
        )
        a, p, n = kind(anchor, target, key, target.clone())
        d = distance(anchor, key).detach()
        nearest: dict = {}
        for i, j, k in zip(a.tolist(), p.tolist(), n.tolist(), strict=True):
            if (i, j) not in nearest or d[i, k] < d[i, nearest[i, j]]:
                nearest[i, j] = k
        chosen = torch.tensor([(i, j, k) for (i, j), k in nearest.items()]).unbind(dim=1)
        return loss(anchor, target, chosen, ref_emb=key, ref_labels=target.clone())

    return value


@pytest.mark.parametrize("mining", MINING)
def test_parity_with_pytorch_metric_learning(mining):
    """Its miner returns all semi-hard triplets; the nearest of each (a, p) is picked here."""
    target = torch.arange(12) % 4
    agree(
        lambda a, k: triplet(a, k, target, margin=0.9, mining=mining),
        metric_learning(0.9, target, mining),
        rows64(12, 5),
        rows64(12, 5, seed=1),
    )


def test_errors():
    with pytest.raises(ValueError, match="mining must be one of"):
        Triplet(mining="easy")
    with pytest.raises(ValueError, match="positives must be one of"):
        Triplet(positives="none")
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        Triplet(margin=0)
    assert Triplet().margin == 0.2
