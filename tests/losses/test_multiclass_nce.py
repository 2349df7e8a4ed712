from __future__ import annotations

import math

import pytest
import torch

from tests.losses.loops import (
    MASKS,
    TARGETS,
    candidates,
    close,
    cosine,
    gradcheck,
    kept,
    mean,
    optional,
    rows64,
    same_kind,
    softmax,
)
from xdistill.losses.multiclass_nce import (
    MultiClassNCE,
    multiclass_nce,
    symmetric_nce,
)
from xdistill.types import Outputs


def twin(anchor, key, target, valid, temperature):
    anchor, key, target = kept(valid, anchor.tolist(), key.tolist(), target)
    values = []
    for i in range(len(anchor)):
        among = candidates(i, len(anchor), target)
        p = softmax([cosine(anchor[i], key[j]) / temperature for j in among])
        kinds = [same_kind(i, j, target) for j in among]
        attract = [-math.log(q) for q, kind in zip(p, kinds, strict=True) if kind is True]
        repel = [-math.log(1 - q) for q, kind in zip(p, kinds, strict=True) if kind is False]
        values.append(mean(attract) + mean(repel))
    return mean(values)


def test_closed_form():
    # p = e/(1 + e) for the pair and 1/(1 + e) for the other row; both terms are −log of the first.
    eye = torch.eye(2)
    value = multiclass_nce(eye, eye, torch.tensor([0, 1]), temperature=1.0)
    torch.testing.assert_close(value, torch.tensor(2 * math.log1p(math.exp(-1.0))))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_twin(target, valid):
    anchor, key = rows64(6, 5), rows64(6, 5, seed=1)
    value = multiclass_nce(anchor, key, optional(target), optional(valid), 0.5)
    close(value, twin(anchor, key, target, valid, 0.5))


def test_one_class_has_the_first_part_alone():
    rows = rows64(1, 5).expand(4, -1)
    close(multiclass_nce(rows, rows, torch.zeros(4, dtype=torch.int64)), math.log(4))


def test_gradcheck():
    target, valid = torch.tensor([0, 0, -1, 1, 1]), torch.tensor([True, True, True, False, True])
    gradcheck(
        lambda a, k: multiclass_nce(a, k, target, valid, 0.3), rows64(5, 3), rows64(5, 3, seed=1)
    )


def test_a_confident_mistake_keeps_a_gradient():
    """−log(1 − p + 1e-10), as published, is flat where the mistake is worst."""
    anchor = torch.tensor([[1.0, 0.01], [0.01, 1.0]], requires_grad=True)
    key = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    multiclass_nce(anchor, key, torch.tensor([0, 1]), temperature=0.01).backward()
    assert torch.isfinite(anchor.grad).all()
    assert anchor.grad.abs().max() > 10


def test_both_directions_are_added():
    a, b, target = rows64(6, 5), rows64(6, 5, seed=1), torch.tensor([0, 1, 1, 0, 2, -1])
    there, back = multiclass_nce(a, b, target), multiclass_nce(b, a, target)
    close(symmetric_nce(a, b, target), (there + back).item())
    both = MultiClassNCE(symmetric=True)(Outputs(a), Outputs(b), target)
    close(both, (there + back).item())
    close(MultiClassNCE()(Outputs(a), Outputs(b), target), there.item())
