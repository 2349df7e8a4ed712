from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax as scipy_log_softmax
from scipy.special import softmax as scipy_softmax

from tests.losses.batches import CLASSES, STUDENT_HIDDEN, bound_loss, random_batch, step
from tests.losses.loops import (
    MASKS,
    TARGETS,
    close,
    gradcheck,
    kept,
    mean,
    optional,
    rows64,
    softmax,
)
from tests.losses.parity import agree
from xdistill.losses.ofa import OFA, ofa
from xdistill.types import Outputs, Spec

FORMS = pytest.mark.parametrize("official", [False, True])
LABELS = [target for target in TARGETS if target is not None]


def twin(student, teacher, target, valid, eps, temperature, official):
    student, teacher, target = kept(valid, student.tolist(), teacher.tolist(), target)
    values = []
    for z_s, z_t, y in zip(student, teacher, target, strict=True):
        if y < 0:
            continue
        p_s, p_t = (softmax([z / temperature for z in row]) for row in (z_s, z_t))
        value = 0.0
        for k, (s, t) in enumerate(zip(p_s, p_t, strict=True)):
            other = t**eps if official else t
            value -= ((1 + t) ** eps - 1 if k == y else other) * math.log(s)
        values.append(value)
    return mean(values)


def test_closed_form():
    # The teacher says ½ ¼ ¼ and the student ⅓ each; y = 0 and eps = 2: the true class weighs
    # 1.5² − 1 = 5/4, the others ¼ each in the paper and 1/16 each in the code.
    teacher, y = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([0])
    paper, code = (
        ofa(torch.zeros(1, 3), teacher, y, None, 2.0, 1.0, form) for form in (False, True)
    )
    torch.testing.assert_close(paper, torch.tensor((5 / 4 + 2 / 4) * math.log(3.0)))
    torch.testing.assert_close(code, torch.tensor((5 / 4 + 2 / 16) * math.log(3.0)))


@FORMS
@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", LABELS)
def test_twin(target, valid, official):
    student, teacher = rows64(6, 4), 3 * rows64(6, 4, seed=1)
    options = (1.4, 2.0, official)
    value = ofa(student, teacher, torch.tensor(target), optional(valid), *options)
    close(value, twin(student, teacher, target, valid, *options))


@FORMS
def test_gradcheck(official):
    target, valid = torch.tensor([1, 0, -1, 2]), torch.tensor([True, False, True, True])
    teacher = rows64(4, 3, seed=1)
    gradcheck(lambda s: ofa(s, teacher, target, valid, 1.3, 1.0, official), rows64(4, 3))


@FORMS
def test_parity_with_numpy(official):
    """The published formula, (p_t + y)^eps − y, as an array; the paper's has it for y alone."""
    student, teacher, target = rows64(7, 5), 2 * rows64(7, 5, seed=1), torch.arange(7) % 5
    y = np.eye(5)[target.numpy()]
    p = scipy_softmax(teacher.numpy(), axis=1)
    weight = (p + y) ** 1.1 - y if official else p * (1 - y) + ((1 + p) ** 1.1 - 1) * y
    value = -(weight * scipy_log_softmax(student.numpy(), axis=1)).sum(axis=1).mean()
    close(ofa(student, teacher, target, official=official), float(value))


def test_parity_of_the_gradient_with_cross_entropy():
    """With eps = 1 both forms are torch's cross-entropy with the teacher's probabilities."""
    target = torch.arange(7) % 5
    for official in (False, True):
        agree(
            lambda s, t, form=official: ofa(s, t, target, eps=1.0, official=form),
            lambda s, t: torch.nn.functional.cross_entropy(s, t.detach().softmax(1)),
            rows64(7, 5),
            rows64(7, 5, seed=1),
        )


def test_eps_adds_to_the_true_class_alone():
    """γ = 2 adds p² + p of the true class (the paper's discussion)."""
    student, teacher, target = rows64(6, 4), rows64(6, 4, seed=1), torch.arange(6) % 4
    p = teacher.softmax(1).gather(1, target[:, None])[:, 0]
    log_s = student.log_softmax(1).gather(1, target[:, None])[:, 0]
    one, two = (ofa(student, teacher, target, eps=eps) for eps in (1.0, 2.0))
    torch.testing.assert_close(two - one, -((p + p**2) * log_s).mean())


def test_the_teacher_gets_no_gradient_even_where_it_is_certain():
    teacher = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    student = torch.zeros(2, 2, requires_grad=True)
    ofa(student, teacher, torch.tensor([0, 0]), official=True).backward()
    assert teacher.grad is None
    assert torch.isfinite(student.grad).all()


def test_sum_over_stages_and_the_final_logits():
    loss, batch = bound_loss("ofa"), random_batch()
    heads = zip(loss.heads, batch.student.hidden.values(), strict=True)
    logits = [head(map.mean(dim=(2, 3, 4))) for head, map in heads]
    parts = [ofa(z, batch.teacher.logits, batch.target) for z in (*logits, batch.student.logits)]
    value = loss(batch.student, batch.teacher, batch.target)
    torch.testing.assert_close(value, sum(parts))
    assert [head.weight.shape for head in loss.heads] == [(CLASSES, 4), (CLASSES, 6)]
    result = step(loss, batch)
    for part in ("embedding", "logits", "hidden early", "hidden late", "heads.0.weight"):
        assert result.tensors()[part].any() == (part != "embedding"), part


def test_named_stages_with_axes():
    """Tokens [B, N, C] beside a layer that is left out; names may hold a dot."""
    student = Outputs(
        torch.randn(6, 8),
        torch.randn(6, CLASSES),
        {"a": torch.randn(6, 3), "b.1": torch.randn(6, 5, 7)},
    )
    batch = random_batch()
    loss = OFA(stages=[("b.1", "b n c")], head="mlp")
    loss.bind(student, batch.teacher, CLASSES)
    value = loss(student, batch.teacher, batch.target)
    logits = loss.heads[0](student.hidden["b.1"].mean(dim=1))
    parts = [ofa(z, batch.teacher.logits, batch.target) for z in (logits, student.logits)]
    torch.testing.assert_close(value, sum(parts))
    flat = OFA(stages=["a"]).bind(student, batch.teacher, CLASSES)  # a vector needs no average
    assert torch.isfinite(flat(student, batch.teacher, batch.target))


def test_options_and_errors():
    batch, spec = random_batch(), Spec(8, STUDENT_HIDDEN)
    values = [
        bound_loss("ofa", **options)(batch.student, batch.teacher, batch.target)
        for options in ({}, {"eps": 1.4}, {"official": True}, {"temperature": 2.0})
    ]
    assert len({round(value.item(), 5) for value in values}) == 4
    with pytest.raises(ValueError, match="eps must be 1 or more, got 0.5"):
        OFA(eps=0.5)
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
        OFA(temperature=0)
    with pytest.raises(ValueError, match="number of classes"):
        OFA().bind(spec, spec)
    with pytest.raises(ValueError, match="outputs hold none"):
        OFA().bind(8, spec, CLASSES)
    with pytest.raises(ValueError, match=r"no hidden layers \['middle'\]"):
        OFA(stages=["middle"]).bind(spec, spec, CLASSES)
    with pytest.raises(ValueError, match="call loss.bind"):
        OFA()(batch.student, batch.teacher, batch.target)
    fewer = Outputs(batch.student.embedding, batch.student.logits, {"early": torch.randn(6, 4)})
    with pytest.raises(ValueError, match="bound to 2 hidden layers"):
        bound_loss("ofa")(fewer, batch.teacher, batch.target)
