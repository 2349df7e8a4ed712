from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchdistill.losses.mid_level import HierarchicalContextLoss
from torchdistill.models.wrapper import AttentionBasedFusion

from tests.losses.batches import bound_loss, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.reviewkd import Fusion, ReviewKD, hcl
from xdistill.types import Outputs


def pooled(values, places):
    """Averages over parts as adaptive pooling makes them: floor and ceiling of equal cuts."""
    n = len(values)
    cuts = [(k * n // places, -(-(k + 1) * n // places)) for k in range(places)]
    return [mean(values[start:stop]) for start, stop in cuts]


def twin(student, teacher, valid):
    rows = []
    for s, t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        length = len(s[0])
        total = weights = 0.0
        weight = 1.0
        for places in [length, *(p for p in (4, 2, 1) if p < length)]:
            gaps = [
                (a - b) ** 2
                for x, y in zip(s, t, strict=True)
                for a, b in zip(pooled(x, places), pooled(y, places), strict=True)
            ]
            total, weights, weight = total + weight * mean(gaps), weights + weight, weight / 2
        rows.append(total / weights)
    return mean(rows)


def test_closed_form():
    # A gap of (3, 1) over two places: 5 for the map, 4 for its average with half the weight.
    student, teacher = torch.tensor([[[3.0, 1.0]]]), torch.zeros(1, 1, 2)
    torch.testing.assert_close(hcl(student, teacher), torch.tensor((5 + 4 / 2) / 1.5))
    # Without a pooling that changes anything the map alone is left.
    torch.testing.assert_close(hcl(student, teacher, pools=(4, 2)), torch.tensor(5.0))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("length", [1, 3, 7])
def test_twin(valid, length):
    student, teacher = rows64(6, 2, length), rows64(6, 2, length, seed=1)
    close(hcl(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: hcl(s, t, valid), rows64(3, 2, 5, 3), rows64(3, 2, 5, 3, seed=1))


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_hcl_parity_with_torchdistill(size):
    criterion = HierarchicalContextLoss("x", "output", "x", "output")

    def reference(student, teacher):
        return criterion({"x": {"output": (student, None)}}, {"x": {"output": teacher}})

    agree(hcl, reference, rows64(3, 2, size, size), rows64(3, 2, size, size, seed=1))


@pytest.mark.parametrize("deepest", [True, False])
def test_fusion_parity_with_torchdistill(deepest):
    """On square maps, its BatchNorm taken out and no bias in ours, which stand in for it."""
    theirs = AttentionBasedFusion(5, 4, 3, uses_attention=not deepest).double()
    theirs.conv1[1] = theirs.conv2[1] = nn.Identity()
    ours = Fusion(5, 4, 3, axes=2, deepest=deepest).double()
    ours.narrow.map.weight.data = theirs.conv1[0].weight.detach()[:, :, 0, 0]
    ours.widen.weight.data = theirs.conv2[0].weight.detach()
    ours.narrow.map.bias.data.zero_()
    ours.widen.bias.data.zero_()
    if not deepest:
        ours.attention.map.weight.data = theirs.attention_conv[0].weight.detach()[:, :, 0, 0]
        ours.attention.map.bias.data = theirs.attention_conv[0].bias.detach()

    def total(outputs):
        return sum(x.square().sum() for x in outputs)

    agree(
        lambda x, y: total(ours(x, y)),
        lambda x, y: total(theirs(x, y, 4)),
        rows64(2, 5, 4, 4),
        rows64(2, 4, 2, 2, seed=1),
    )


@pytest.mark.parametrize("lengths", [(6,), (6, 5), (4, 5, 6)])
def test_maps_of_every_rank(lengths):
    """One to three shared axes of unequal lengths; every stage and every parameter learns."""
    torch.manual_seed(0)
    shorter = [math.ceil(length / 2) for length in lengths]

    def maps(early, late):
        return Outputs(
            torch.randn(3, 8),
            hidden={"a": torch.randn(3, early, *lengths), "b": torch.randn(3, late, *shorter)},
        ).map(lambda x: x.requires_grad_())

    student, teacher = maps(4, 6), maps(5, 7)
    loss = ReviewKD().bind(student, teacher)
    assert loss.fusions[0].widen.weight.shape == (5, 6, *[3] * len(lengths))
    loss(student, teacher).backward()
    for tensor in (*student.hidden.values(), *loss.parameters()):
        assert tensor.grad.any()


def test_stages_are_fused_from_the_deepest_to_the_first():
    """Video meets EEG over time alone, by hand from the modules of the loss."""
    batch = random_batch()
    loss = bound_loss("reviewkd")
    early, late = (batch.student.hidden[name].mean(dim=(3, 4)) for name in ("early", "late"))
    their_early, their_late = batch.teacher.hidden["early"], batch.teacher.hidden["late"]
    first, last = loss.fusions
    assert first.attention is not None and last.attention is None
    deep, handed = last(late, None)  # [6, 6, 3] -> [6, 5, 3]
    value = hcl(deep, nn.functional.adaptive_avg_pool1d(their_late, 3))
    shallow, _ = first(early, handed)  # 6 places, the deeper 3 stretched to them
    value = value + hcl(shallow, nn.functional.adaptive_avg_pool1d(their_early, 6))
    torch.testing.assert_close(loss(batch.student, batch.teacher), value)


def test_a_row_does_not_depend_on_the_others():
    batch = random_batch()
    loss = bound_loss("reviewkd")
    alone = [
        loss(*(o.rows(slice(i, i + 1)) for o in (batch.student, batch.teacher))) for i in range(6)
    ]
    torch.testing.assert_close(loss(batch.student, batch.teacher), sum(alone) / 6)


def test_options_and_errors():
    batch = random_batch()
    assert ReviewKD.recommended_warmup_epochs == 20
    loss = bound_loss("reviewkd", mid_channels=9, layers=[("late", "late")], pools=[2])
    assert loss.fusions[0].narrow.map.out_features == 9
    assert len(loss.fusions) == 1
    assert loss(batch.student, batch.teacher) > 0
    with pytest.raises(ValueError, match="bind"):
        ReviewKD()(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="holds no shapes"):
        ReviewKD().bind(8, 5)
    for options in ({"mid_channels": 0}, {"pools": (4, 0)}):
        with pytest.raises(ValueError, match="at least 1"):
            ReviewKD(**options)
    x = Outputs(torch.ones(2, 8), hidden={"a": torch.ones(2, 3, 4), "b": torch.ones(2, 3, 4, 4)})
    with pytest.raises(ValueError, match="one set of axes"):
        ReviewKD().bind(x, x)
