from __future__ import annotations

import math

import pytest
import torch
from open_clip.loss import SigLipLoss
from torch.nn.functional import normalize

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, cosine, gradcheck, kept, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.siglip import SigLIP, siglip


def twin(a, b, valid, scale, bias):
    a, b = kept(valid, a.tolist(), b.tolist())
    total = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            sign = 1 if i == j else -1
            total += math.log1p(math.exp(-sign * (scale * cosine(a[i], b[j]) + bias)))
    return total / len(a)


def test_closed_form():
    # Two orthogonal pairs that match, s = 2, b = −1: each row has one pair at +1 and one non-pair
    # at −1, both of which cost log(1 + 1/e).
    eye = 3.0 * torch.eye(2)
    value = siglip(eye, eye, scale=2.0, bias=-1.0)
    torch.testing.assert_close(value, torch.tensor(2 * math.log1p(math.exp(-1.0))))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    a, b = rows64(6, 5), rows64(6, 5, seed=1)
    close(siglip(a, b, optional(valid), 5.0, -3.0), twin(a, b, valid, 5.0, -3.0))


def test_gradcheck():
    valid = torch.tensor([True, True, False, True])
    scale, bias = torch.tensor(5.0, dtype=torch.float64), torch.tensor(-3.0, dtype=torch.float64)
    gradcheck(
        lambda a, b, scale, bias: siglip(a, b, valid, scale, bias),
        rows64(4, 3),
        rows64(4, 3, seed=1),
        scale,
        bias,
    )


def test_parity_with_open_clip():
    theirs = SigLipLoss(rank=0, world_size=1)
    scale, bias = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-4.0, dtype=torch.float64)
    agree(
        lambda a, b, scale, bias: siglip(a, b, None, scale, bias),
        lambda a, b, scale, bias: theirs(normalize(a), normalize(b), scale, bias),
        rows64(7, 5),
        rows64(7, 5, seed=1),
        scale,
        bias,
    )


def test_symmetric_in_the_modalities():
    a, b = rows64(6, 5), rows64(6, 5, seed=1)
    close(siglip(a, b), siglip(b, a).item())


def test_a_pair_is_judged_by_itself():
    """Without a softmax, the gradient of one score does not depend on the other rows."""
    a, b = rows64(3, 5), rows64(3, 5, seed=1)
    both = [torch.tensor([i, j]) for i in range(3) for j in range(i + 1, 3)]
    alone = [siglip(a[i : i + 1], b[i : i + 1]) for i in range(3)]
    pairs = sum(2 * siglip(a[two], b[two]) for two in both)
    close(3 * siglip(a, b), (pairs - sum(alone)).item())


def test_learns_scale_and_bias_by_default():
    batch = random_batch()
    free, fixed = step(SigLIP(), batch), step(SigLIP(learnable=False), batch)
    torch.testing.assert_close(free.value, fixed.value)
    assert free.parameters["log_scale"].any()
    assert free.parameters["bias"].any()
    assert not fixed.parameters
    torch.testing.assert_close(SigLIP().log_scale.detach(), torch.tensor(math.log(10.0)))
    torch.testing.assert_close(SigLIP().bias.detach(), torch.tensor(-10.0))


def test_options():
    batch = random_batch()
    s, t = batch.student.embedding, batch.teacher.embedding
    value = SigLIP(3.0, -2.0)(batch.student, batch.teacher)
    torch.testing.assert_close(value, siglip(s, t, None, 3.0, -2.0))
    other = SigLIP(3.0, -2.0)(batch.student, batch.teacher, batch.target.flip(0))
    assert other == value  # labels are not used
    projected = bound_loss("siglip", dim=4)
    assert projected.student_projector(s).shape == (6, 4)
    with pytest.raises(ValueError, match="scale must be above 0, got 0"):
        SigLIP(scale=0.0)
