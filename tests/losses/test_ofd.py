from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from tests.losses.batches import STUDENT_HIDDEN, TEACHER_HIDDEN, bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.ofd import OFD, MarginReLU, margin_from_batch_norm, margin_relu, partial_l2
from xdistill.losses.parts.layers import channels_first
from xdistill.losses.parts.shared_axes import align
from xdistill.types import Outputs, Spec


def twin(student, teacher, margin, valid):
    rows = []
    for s, t in zip(*kept(valid, list(student), list(teacher)), strict=True):
        total = 0.0
        for channel, m in enumerate(margin.tolist()):
            flat = s[channel].flatten().tolist(), t[channel].flatten().tolist()
            for ours, theirs in zip(*flat, strict=True):
                theirs = max(theirs, m)
                total += 0.0 if ours <= theirs <= 0 else (theirs - ours) ** 2
        rows.append(total)
    return mean(rows)


def pair(student: torch.Tensor, teacher: torch.Tensor) -> tuple[Outputs, Outputs]:
    embedding = torch.zeros(len(student), 1, dtype=student.dtype)
    return Outputs(embedding, hidden={"a": student}), Outputs(embedding, hidden={"a": teacher})


def batch_norm(mean: list[float], deviation: list[float]) -> nn.BatchNorm1d:
    bn = nn.BatchNorm1d(len(mean)).double()
    bn.load_state_dict(
        {**bn.state_dict(), "bias": torch.tensor(mean), "weight": torch.tensor(deviation)}
    )
    return bn


def test_closed_form():
    # Margin −1 turns the teacher's (2, −3, −0.5, −3) into (2, −1, −0.5, −1).
    # (2 − 3)² = 1; S = −2 ≤ −1 ≤ 0 counts nothing; S = 1 > −0.5: 2.25; S = −0.5 > −1: 0.25.
    teacher = margin_relu(torch.tensor([[[2.0, -3.0, -0.5, -3.0]]]), torch.tensor([-1.0]))
    student = torch.tensor([[[3.0, -2.0, 1.0, -0.5]]])
    torch.testing.assert_close(teacher, torch.tensor([[[2.0, -1.0, -0.5, -1.0]]]))
    torch.testing.assert_close(partial_l2(student, teacher), torch.tensor(3.5))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 3, 4, 2), rows64(6, 3, 4, 2, seed=1)
    margin = -rows64(3, seed=2).abs()
    value = partial_l2(student, margin_relu(teacher, margin), optional(valid))
    close(value, twin(student, teacher, margin, valid))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: partial_l2(s, t, valid), rows64(3, 2, 4), rows64(3, 2, 4, seed=1))


def test_skipped_places_have_no_gradient():
    student = torch.tensor([[[-2.0, -2.0, 0.5]]], requires_grad=True)
    teacher = torch.tensor([[[-1.0, 1.0, -1.0]]])
    (gradient,) = torch.autograd.grad(partial_l2(student, teacher), student)
    torch.testing.assert_close(gradient, torch.tensor([[[0.0, -6.0, 3.0]]]))


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (-0.7, 0.5), (1.3, 0.8), (2.0, 0.7)])
def test_margin_of_a_gaussian(mean, deviation):
    def weighted(x):
        return x * stats.norm.pdf(x, mean, deviation)

    mass = stats.norm.cdf(0.0, mean, deviation)
    exact = integrate.quad(weighted, mean - 12 * deviation, 0.0)[0] / mass
    found = margin_from_batch_norm(batch_norm([mean], [deviation]))
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-6)
    flipped = margin_from_batch_norm(batch_norm([mean], [-deviation]))
    torch.testing.assert_close(flipped, found)


def test_margin_at_the_ends():
    """Half a Gaussian, a channel that is never negative, one that always is, constants."""
    bn = batch_norm([0.0, 200.0, -200.0, 3.0, -3.0, 0.0], [2.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    found = margin_from_batch_norm(bn)
    exact = [-2 * math.sqrt(2 / math.pi), -1 / 200, -200.0, 0.0, -3.0, 0.0]
    torch.testing.assert_close(found, torch.tensor(exact).double(), rtol=1e-4, atol=1e-12)
    assert margin_from_batch_norm(nn.BatchNorm2d(4)).dtype == torch.float32
    with pytest.raises(ValueError, match="affine=True"):
        margin_from_batch_norm(nn.BatchNorm1d(3, affine=False))


def test_margin_is_the_mean_of_all_negative_responses_in_training():
    layer = MarginReLU(3).double()
    batches = [rows64(n, 3, 5, seed=n) for n in (2, 7, 1)]
    for x in batches:
        x[:, 2] = x[:, 2].abs()  # a channel without any
    for count, x in enumerate(batches, start=1):
        layer(x)
        seen = torch.cat([one.movedim(1, 0).flatten(1) for one in batches[:count]], dim=1)
        exact = torch.stack([row[row < 0].sum() / max((row < 0).sum(), 1) for row in seen])
        torch.testing.assert_close(layer.margin, exact)
    assert layer.margin[2] == 0
    torch.testing.assert_close(layer(batches[0]), margin_relu(batches[0], layer.margin))


def test_margin_stays_in_evaluation_and_where_it_was_given():
    x = rows64(4, 2, 5)
    layer = MarginReLU(2).double().eval()
    torch.testing.assert_close(layer(x), x.relu())  # nothing seen yet
    margin = torch.tensor([-0.5, -0.1], dtype=torch.float64)
    given = MarginReLU(2, margin)
    torch.testing.assert_close(given(x), margin_relu(x, margin))
    torch.testing.assert_close(given.margin, margin, rtol=0, atol=0)
    for wrong in (torch.zeros(3), torch.tensor([0.1, -1.0])):
        with pytest.raises(ValueError, match=r"at most 0 for each of 2 channels, got .*makes one"):
            MarginReLU(2, wrong)


def test_missing_rows_leave_the_margin_alone():
    batch = random_batch()
    valid = torch.tensor([True, False, True, True, False, True])
    missing, absent = bound_loss("ofd"), bound_loss("ofd")
    step(missing, batch.change(valid=valid))
    step(absent, batch.rows(valid.nonzero().flatten()))
    torch.testing.assert_close(missing.margins[0].margin, absent.margins[0].margin)
    assert missing.margins[0].margin.any()


def test_the_module_is_the_formula():
    """Margins act on the teacher's own map, the adapter on the student's after alignment."""
    student, teacher = rows64(4, 3, 6, 2, 2), rows64(4, 5, 3, seed=1)
    margins = [-rows64(5, seed=2).abs()]
    loss = OFD(margins=margins).bind(Spec(1, {"a": (3, 6, 2, 2)}), Spec(1, {"a": (5, 3)})).double()
    target = margin_relu(teacher, margins[0])
    ours, theirs = align("ofd", channels_first(student), channels_first(target))
    adapter = loss.adapters[0]
    assert (adapter.map.in_features, adapter.map.out_features) == (3, 5)
    exact = partial_l2(adapter(ours), theirs)
    torch.testing.assert_close(loss(*pair(student, teacher)), exact)


def test_sum_over_pairs_and_the_official_factor():
    batch = random_batch()
    shapes = Spec(8, STUDENT_HIDDEN), Spec(8, TEACHER_HIDDEN)
    both = OFD().bind(*shapes)
    parts = []
    for place, name in enumerate(("early", "late")):
        one = OFD([name]).bind(*shapes)
        one.adapters[0].load_state_dict(both.adapters[place].state_dict())
        parts.append(one(batch.student, batch.teacher))
    official = OFD(official=True).bind(*shapes)
    official.adapters.load_state_dict(both.adapters.state_dict())
    torch.testing.assert_close(both(batch.student, batch.teacher), parts[0] + parts[1])
    torch.testing.assert_close(official(batch.student, batch.teacher), parts[0] / 2 + parts[1])


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match=r"ofd .* call loss\.bind\(student, teacher\)"):
        OFD()(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="ofd got 1 margins for 2 pairs"):
        OFD(margins=[torch.zeros(3)]).bind(batch.student, batch.teacher)


def test_it_teaches_the_student_up_to_the_margin():
    """The best student has the teacher's positive responses and is low enough elsewhere."""
    torch.manual_seed(0)
    teacher = torch.randn(8, 2, 3)
    loss = OFD().bind(Spec(1, {"a": (2, 3)}), Spec(1, {"a": (2, 3)}))
    nn.init.eye_(loss.adapters[0].map.weight)
    nn.init.zeros_(loss.adapters[0].map.bias)
    low = torch.where(teacher > 0, teacher, torch.full_like(teacher, -9.0))
    assert copy.deepcopy(loss)(*pair(low, teacher)) == 0
    assert loss(*pair(low + 0.1, teacher)) > 0


def test_parity_with_the_formula_by_cases():
    """Squared error in each of the three cases where the ReLU lets a difference through."""
    student, teacher = rows64(5, 3, 4), rows64(5, 3, 4, seed=1)
    margin = -rows64(3, seed=2).abs()

    def theirs(s, t):
        m = margin.view(1, 3, 1).expand_as(t)
        below = torch.relu(s - m).square() * (t <= m)
        between = torch.relu(s - t).square() * ((t > m) & (t <= 0))
        above = (s - t).square() * (t > 0)
        return (below + between + above).sum() / len(s)

    def ours(s, t):
        return partial_l2(s, margin_relu(t, margin))

    agree(ours, theirs, student, teacher)
