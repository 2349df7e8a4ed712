from __future__ import annotations

import numpy as np
import pytest
import torch

import xdistill as xd
from tests.losses.batches import bound_loss, call, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.numpy_parity import agree_with_numpy
from xdistill.losses.fitnet import fitnet
from xdistill.losses.norm import NORM, norm


def twin(student, teacher, valid):
    values = []
    for s, t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        gaps = [(a - t[place % len(t)]) ** 2 for place, a in enumerate(s)]
        values.append(sum(gaps) / len(t))
    return mean(values)


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("repeats", [1, 3])
def test_twin(valid, repeats):
    student, teacher = rows64(6, 4 * repeats), rows64(6, 4, seed=1)
    close(norm(student, teacher, optional(valid)), twin(student, teacher, valid))


def test_closed_form():
    # Segments (1, 2) and (3, 5) against (1, 3): (0 + 1) + (4 + 4), over two features.
    value = norm(torch.tensor([[1.0, 2.0, 3.0, 5.0]]), torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(value, torch.tensor(4.5))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: norm(s, t, valid), rows64(3, 6), rows64(3, 2, seed=1))


def test_one_segment_is_fitnet():
    student, teacher = rows64(5, 4), rows64(5, 4, seed=1)
    torch.testing.assert_close(norm(student, teacher), fitnet(student, teacher))


def test_the_loss_expands_a_student_that_is_not():
    batch, loss = random_batch(teacher_dim=5), bound_loss("norm", 8, 5, repeats=3)
    assert {name: tuple(p.shape) for name, p in loss.named_parameters()} == {
        "expand.weight": (15, 8)
    }
    expected = norm(loss.expand(batch.student.embedding), batch.teacher.embedding)
    torch.testing.assert_close(call(loss, batch), expected)
    with pytest.raises(ValueError, match="train xd.expand_student.*or call loss.bind"):
        call(NORM(), batch)
    with pytest.raises(ValueError, match="repeats must be .*at least 1, got 0"):
        NORM(repeats=0)


def encoders():
    torch.manual_seed(0)
    return [
        xd.create_encoder("mlp", modality=name, in_features=6, dim=dim, num_classes=3)
        for name, dim in (("cheap", 8), ("rich", 5))
    ]


def test_an_expanded_student_and_its_fold():
    student, teacher = encoders()
    expanded = xd.expand_student(student, teacher, repeats=3).eval()
    x, y = torch.randn(7, 6), torch.randn(7, 6)
    outputs = expanded(x)
    assert outputs.hidden["norm_expanded"].shape == (7, 15)
    loss = NORM().bind(outputs, teacher(y))
    assert not list(loss.parameters())
    assert not list(NORM().bind(expanded, teacher).parameters())
    value = loss(outputs, teacher(y))
    expected = norm(outputs.hidden["norm_expanded"], teacher(y).embedding)
    torch.testing.assert_close(value, expected)
    folded = expanded.folded()
    torch.testing.assert_close(folded(x).logits, outputs.logits)
    torch.testing.assert_close(folded(x).embedding, student(x).embedding)
    assert folded.state_dict().keys() == student.state_dict().keys()
    (value + outputs.logits.sum()).backward()
    assert all(p.grad is not None for p in expanded.parameters())
    with pytest.raises(ValueError, match=r"width 8, got 15 expanded"):
        loss(outputs, student(x))


def test_an_expanded_student_needs_a_classifier():
    student, teacher = encoders()
    with pytest.raises(ValueError, match="no linear head.classifier"):
        xd.expand_student(torch.nn.Linear(3, 3), teacher)
    with pytest.raises(ValueError, match="repeats must be .*at least 1"):
        xd.expand_student(student, 5, repeats=0)


def test_parity_with_numpy():
    """The public code's arithmetic: N times the mean over tiled features."""

    def theirs(student, teacher):
        return 3 * ((student - np.tile(teacher, 3)) ** 2).mean()

    agree_with_numpy(norm, theirs, rows64(4, 6), rows64(4, 2, seed=1))
