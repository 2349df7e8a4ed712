from __future__ import annotations

import math

import pytest
import torch
from torchdistill.losses.mid_level import ATLoss

from tests.losses.batches import random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, norm, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.at import AT, at
from xdistill.losses.parts.layers import LayerPair
from xdistill.types import Outputs


def unit_attention(row: torch.Tensor, p: float) -> list[float]:
    """The normalised map of one row [C, N], in loops."""
    channels = row.tolist()
    q = [mean([abs(c[i]) ** p for c in channels]) for i in range(len(channels[0]))]
    return [value / norm(q) for value in q]


def twin(student, teacher, valid, p=2.0, squared=True):
    values = []
    for s, t in zip(*kept(valid, list(student), list(teacher)), strict=True):
        ours, theirs = (unit_attention(x.flatten(1), p) for x in (s, t))
        distance = norm([a - b for a, b in zip(ours, theirs, strict=True)])
        values.append((distance**2 if squared else distance) / len(ours))
    return mean(values)


def hidden(**tensors: torch.Tensor) -> Outputs:
    rows = len(next(iter(tensors.values())))
    return Outputs(torch.zeros(rows, 1, dtype=torch.float64), hidden=tensors)


def test_closed_form():
    # Q_s = (9 + 16)/2 = 12.5 at the first of two places, 0 at the second: normalised (1, 0).
    # Q_t = (√3², (−2)²) = (3, 4), with its only channel: normalised (0.6, 0.8).
    # ((1 − 0.6)² + 0.8²)/2 = 0.4; the norm of eq. 2 is √0.8, divided by two places.
    student = torch.tensor([[[3.0, 0.0], [-4.0, 0.0]]])
    teacher = torch.tensor([[[math.sqrt(3.0), -2.0]]])
    torch.testing.assert_close(at(student, teacher), torch.tensor(0.4))
    literal = at(student, teacher, squared=False)
    torch.testing.assert_close(literal, torch.tensor(math.sqrt(0.8) / 2))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_twin(valid, squared, p):
    student, teacher = rows64(6, 3, 4, 2), rows64(6, 5, 4, 2, seed=1)
    value = at(student, teacher, optional(valid), p, squared)
    close(value, twin(student, teacher, valid, p, squared))


@pytest.mark.parametrize("squared", [True, False])
def test_gradcheck(squared):
    valid = torch.tensor([True, False, True])
    gradcheck(
        lambda s, t: at(s, t, valid, squared=squared), rows64(3, 2, 4), rows64(3, 3, 4, seed=1)
    )


def test_neither_scale_nor_sign_nor_order_of_channels_matters():
    student, teacher = rows64(4, 3, 5), rows64(4, 3, 5, seed=1)
    value = at(student, teacher)
    turn = torch.linalg.qr(rows64(3, 3, seed=2)).Q  # keeps the sum of squares at each place
    turned = torch.einsum("ec,bcn->ben", turn, student)
    torch.testing.assert_close(at(1e-6 * turned, -1e6 * teacher.flip(1)), value)
    close(at(turned, student), 0.0)


def test_small_activations_are_no_map_of_zeros():
    """Their squares are below what counts as a vector of length 0."""
    student, teacher = rows64(4, 3, 5).float(), rows64(4, 3, 5, seed=1).float()
    torch.testing.assert_close(at(1e-5 * student, teacher), at(student, teacher))


def test_a_dead_map_sends_no_large_gradient():
    student = (1e-30 * rows64(4, 3, 5)).requires_grad_()
    (gradient,) = torch.autograd.grad(at(student, rows64(4, 3, 5, seed=1)), student)
    assert gradient.abs().max() < 1


def test_one_place_leaves_nothing_to_compare():
    close(at(rows64(4, 3, 1), rows64(4, 5, 1, seed=1)), 0.0)


def test_channels_go_before_the_axes_do():
    """Mean of squares over the places that the other side lacks, not square of their mean."""
    video, signal = rows64(4, 3, 5, 2, 3), rows64(4, 6, 5, seed=1)
    q = video.square().mean(dim=(1, 3, 4))
    exact = at(q.sqrt()[:, None], signal)
    torch.testing.assert_close(AT()(hidden(a=video), hidden(b=signal)), exact)


def test_maps_that_are_not_square_and_permuted_axes():
    student, teacher = rows64(4, 3, 6, 4), rows64(4, 5, 2, 6, seed=1)
    loss = AT([LayerPair("a", "b", "b c t f", "b c f t")])
    # The student's four frequencies are averaged in pairs after squaring; time comes first.
    q = student.square().mean(1).view(4, 6, 2, 2).mean(3)
    exact = at(q.sqrt()[:, None], teacher.mT)
    torch.testing.assert_close(loss(hidden(a=student), hidden(b=teacher)), exact)


def test_sum_over_pairs():
    batch = random_batch()
    both = AT()(batch.student, batch.teacher)
    parts = [AT([name])(batch.student, batch.teacher) for name in ("early", "late")]
    assert parts[0] != parts[1]
    torch.testing.assert_close(both, parts[0] + parts[1])


def test_options_reach_the_formula():
    student, teacher = rows64(4, 3, 5), rows64(4, 6, 5, seed=1)
    for p, squared in ((1.0, True), (4.0, True), (2.0, False)):
        value = AT(p=p, squared=squared)(hidden(a=student), hidden(b=teacher))
        torch.testing.assert_close(value, at(student, teacher, p=p, squared=squared))
        assert not torch.isclose(value, at(student, teacher))


def test_errors():
    with pytest.raises(ValueError, match="p must be at least 1, got 0.5"):
        AT(p=0.5)
    vectors = hidden(a=rows64(2, 3))
    with pytest.raises(ValueError, match=r"at: .* share no axis"):
        AT()(vectors, vectors)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5)])
def test_parity_with_torchdistill(shape):
    """Its mode "code" is our default; its mode "paper" leaves the division by N to the weight."""
    pair = {"p": {side: {"io": "output", "path": "m"} for side in ("student", "teacher")}}
    student, teacher = rows64(4, 3, *shape), rows64(4, 6, *shape, seed=1)
    places = math.prod(shape)

    def theirs(mode, scale):
        loss = ATLoss(pair, mode=mode)
        return lambda s, t: scale * loss({"m": {"output": s}}, {"m": {"output": t}})

    agree(at, theirs("code", 1.0), student, teacher)
    agree(lambda s, t: at(s, t, squared=False), theirs("paper", 1 / places), student, teacher)
