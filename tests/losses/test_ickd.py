from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchdistill.losses.mid_level import ChSimLoss

from tests.losses.batches import bound_loss, random_batch
from tests.losses.loops import MASKS, close, dot, gradcheck, kept, mean, norm, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.ickd import ICKD, ickd
from xdistill.losses.parts.layers import LayerPair
from xdistill.types import Outputs


def correlations(channels):
    gram = [[dot(a, b) for b in channels] for a in channels]
    return [[value / norm(row) for value in row] for row in gram]


def twin(student, teacher, valid, official):
    values = []
    for s, t in zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True):
        g_s, g_t = correlations(s), correlations(t)
        channels = range(len(s))
        total = sum((g_s[i][j] - g_t[i][j]) ** 2 for i in channels for j in channels)
        values.append(total / len(s) ** (1 if official else 2))
    return mean(values)


def test_closed_form():
    # The student's channels are orthogonal, F Fᵀ = diag(1, 4), rows (1, 0) and (0, 1). The
    # teacher's are equal, every row (1, 1)/√2. Each row differs by (1 − 1/√2)² + 1/2 = 2 − √2.
    student = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    teacher = torch.tensor([[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]])
    torch.testing.assert_close(ickd(student, teacher), torch.tensor((2 - 2**0.5) / 2))
    torch.testing.assert_close(ickd(student, teacher, official=True), torch.tensor(2 - 2**0.5))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("official", [False, True])
def test_twin(valid, official):
    student, teacher = rows64(6, 3, 7), rows64(6, 3, 5, seed=1)
    value = ickd(student, teacher, optional(valid), official)
    close(value, twin(student, teacher, valid, official))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: ickd(s, t, valid), rows64(3, 3, 4), rows64(3, 3, 2, 2, seed=1))


def test_parity_with_torchdistill():
    """It divides by C·B² where the mean over the batch and C² entries divides by C²·B."""
    where = {"io": "output", "path": "x"}
    criterion = ChSimLoss({"pair": {"student": where, "teacher": where}})

    def reference(student, teacher):
        rows, channels = student.shape[:2]
        value = criterion({"x": {"output": student}}, {"x": {"output": teacher}})
        return value * rows / channels

    student, teacher = rows64(4, 3, 5, 5), rows64(4, 3, 2, 2, seed=1)
    agree(ickd, reference, student, teacher)
    agree(
        lambda s, t: ickd(s, t, official=True),
        lambda s, t: 3 * reference(s, t),
        student,
        teacher,
    )


def test_invariant_to_the_order_of_places_and_to_scale():
    teacher = rows64(4, 3, 6)
    close(ickd(5 * teacher[:, :, torch.randperm(6)], teacher), 0.0)
    assert ickd(teacher[:, [1, 0, 2]], teacher) > 0.01  # but not to that of channels


def test_maps_without_a_common_axis():
    batch = random_batch()
    layers = [LayerPair("early", "early", student_axes="b c t h w", teacher_axes="b c f")]
    assert bound_loss("ickd", layers=layers)(batch.student, batch.teacher) > 0
    vectors = rows64(5, 4), rows64(5, 4, seed=1)
    close(ickd(*vectors), twin(vectors[0][:, :, None], vectors[1][:, :, None], None, False))


def test_pairs_are_summed_and_adapters_made_where_channels_differ():
    batch = random_batch()
    loss = bound_loss("ickd")
    parts = [
        ickd(adapter(batch.student.hidden[name]), batch.teacher.hidden[name])
        for adapter, name in zip(loss.adapters, ("early", "late"), strict=True)
    ]
    torch.testing.assert_close(loss(batch.student, batch.teacher), sum(parts))
    assert loss.adapters[0].map.weight.shape == (3, 4)
    x = Outputs(torch.ones(2, 8), hidden={"a": torch.rand(2, 3, 4)})
    y = Outputs(torch.ones(2, 5), hidden={"b": torch.rand(2, 3, 9)})
    same = ICKD().bind(x, y)
    assert isinstance(same.adapters[0], nn.Identity)
    torch.testing.assert_close(same(x, y), ickd(x.hidden["a"], y.hidden["b"]))
    official = ICKD(official=True).bind(x, y)
    torch.testing.assert_close(official(x, y), 3 * same(x, y))


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="bind"):
        ICKD()(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="holds no shapes"):
        ICKD().bind(8, 5)
    with pytest.raises(ValueError, match="hidden"):
        bound_loss("ickd")(batch.student, replace(batch.teacher, hidden={}))
