from __future__ import annotations

import math

import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import kendalltau
from torch import nn

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from xdistill.losses.c2kd import C2KD, c2kd_terms, non_target_kl

TARGETS = [[0, 1, 1, 0, 2, 1], [0, -1, 0, 1, -1, -1], [-1] * 6, [3] * 6]


def kl(p, q):
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def twin(student, student_proxy, teacher, teacher_proxy, target, valid, threshold, temperature):
    """Each part as the paper writes it, one row after the other."""
    own_teacher, own_student, cross = [], [], []
    columns = [z.tolist() for z in (student, student_proxy, teacher, teacher_proxy)]
    for z_s, z_sp, z_t, z_tp, y in zip(*kept(valid, *columns, target), strict=True):
        for parts, pair in ((own_teacher, (z_t, z_tp)), (own_student, (z_s, z_sp))):
            p, q = (softmax([z / temperature for z in logits]) for logits in pair)
            parts.append(temperature**2 * (kl(p, q) + kl(q, p)))
        if y < 0:
            continue
        others = [[z / temperature for j, z in enumerate(ls) if j != y] for ls in (z_sp, z_tp)]
        p, q = (softmax(logits) for logits in others)
        agree = kendalltau(z_sp, z_tp).statistic > threshold
        cross.append(agree * temperature**2 * (kl(p, q) + kl(q, p)))
    return mean(own_teacher), mean(own_student), mean(cross)


def logits(rows=6, classes=4):
    return [2 * rows64(rows, classes, seed=seed) for seed in range(4)]


def test_closed_form():
    # Both proxies rank class 0 first. Without it, the student's says ½, ½ and the teacher's ¾, ¼:
    # KL both ways is ¾·ln(3/2) + ¼·ln(1/2) + ½·ln(2/3) + ½·ln 2 = ¼·ln 3. A network equals its
    # proxy.
    s = torch.tensor([[5.0, 0.0, 0.0]])
    t = torch.tensor([[9.0, math.log(3.0), 0.0]])
    terms = c2kd_terms(s, s, t, t, torch.tensor([0]))
    torch.testing.assert_close(terms.cross, torch.tensor(0.25 * math.log(3)))
    assert terms.teacher == terms.student == 0
    assert terms.selected.item()


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("threshold", "temperature"), [(0.0, 1.0), (0.4, 3.0)])
def test_twin(valid, target, threshold, temperature):
    options = (threshold, temperature)
    terms = c2kd_terms(*logits(), torch.tensor(target), optional(valid), *options)
    for term, exact in zip(terms, twin(*logits(), target, valid, *options), strict=False):
        close(term, exact)


def test_parity_of_the_cross_part_with_scipy():
    """From log_softmax of SciPy over the remaining classes, in numpy."""
    s, t = logits()[:2]
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = []
    for z_s, z_t, y in zip(s.numpy(), t.numpy(), target, strict=True):
        rest = [j for j in range(4) if j != y]
        log_s, log_t = log_softmax(z_s[rest]), log_softmax(z_t[rest])
        expected.append((math.e**log_t * (log_t - log_s)).sum())
    torch.testing.assert_close(non_target_kl(s, t, target), torch.tensor(expected))


def test_gradcheck():
    """Towards one side at a time, since the other counts as constant."""
    target, valid = torch.tensor([0, 2, -1, 1]), torch.tensor([True, True, True, False])
    t = rows64(4, 4, seed=1)
    gradcheck(lambda s: non_target_kl(s, t, target).sum(), rows64(4, 4))

    def towards_the_teacher(s):  # in `first` alone, the second direction has no gradient
        return c2kd_terms(s, t, t, t, target, valid).student

    s = rows64(4, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(towards_the_teacher(s), s)
    expected = (s.softmax(1) - t.softmax(1)) / 3
    torch.testing.assert_close(gradient[:3], expected[:3])
    assert not gradient[3].any()


def test_the_level_of_the_target_does_not_matter():
    s, t = logits()[:2]
    target = torch.arange(6) % 4
    moved = s + 7 * nn.functional.one_hot(target, 4)
    torch.testing.assert_close(non_target_kl(moved, t, target), non_target_kl(s, t, target))
    zeroed = non_target_kl(s + 3, t + 3, target)  # a zeroed logit would depend on the level
    torch.testing.assert_close(zeroed, non_target_kl(s, t, target))


def test_two_classes_leave_nothing_to_compare():
    assert not non_target_kl(rows64(3, 2), rows64(3, 2, seed=1), torch.tensor([0, 1, 0])).any()
    assert not non_target_kl(rows64(3, 1), rows64(3, 1, seed=1), torch.tensor([0, 0, 0])).any()


def test_opposite_rankings_are_left_out():
    s = rows64(3, 4).requires_grad_()
    terms = c2kd_terms(s, s, -s, -s, torch.tensor([0, 1, 2]))
    assert not terms.selected.any()
    assert terms.cross == 0
    assert not torch.autograd.grad(terms.cross, s)[0].any()


def test_gradient_of_a_frozen_and_of_a_training_teacher():
    loss, batch = bound_loss("c2kd", cross_weight=0.0), random_batch()
    teacher = batch.teacher.map(lambda tensor: tensor.clone().requires_grad_())
    loss(batch.student, teacher, batch.target).backward()
    proxy = loss.teacher_proxy(teacher.embedding).softmax(1)
    expected = (teacher.logits.softmax(1) - proxy) / 6
    torch.testing.assert_close(teacher.logits.grad, expected)
    frozen = step(loss, batch)
    assert frozen.parameters["teacher_proxy.weight"].any()


def test_terms_add_up():
    batch = random_batch()
    loss = bound_loss("c2kd", teacher_weight=2.0, student_weight=3.0, cross_weight=5.0)
    value = step(loss, batch).value
    terms = [loss.terms[f"c2kd/{part}"] for part in ("teacher", "student", "cross")]
    torch.testing.assert_close(value, 2 * terms[0] + 3 * terms[1] + 5 * terms[2])
    assert 0 <= loss.terms["c2kd/selected"] <= 1


def test_proxies():
    loss = bound_loss("c2kd", teacher_dim=5, proxy="mlp")
    assert isinstance(loss.teacher_proxy, nn.Sequential)
    assert C2KD(num_classes=3).bind(8, 5).student_proxy.out_features == 3


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        C2KD(temperature=0)
    with pytest.raises(ValueError, match="threshold .* got 1"):
        C2KD(threshold=1)
    with pytest.raises(ValueError, match="needs num_classes"):
        C2KD().bind(8, 8)
    with pytest.raises(ValueError, match="no proxies yet; call loss.bind"):
        C2KD()(batch.student, batch.teacher, batch.target)
    with pytest.raises(ValueError, match="made for 4 classes, the student has 3"):
        C2KD().bind(8, 8, num_classes=4)(batch.student, batch.teacher, batch.target)
