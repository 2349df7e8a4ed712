from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

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
from tests.losses.parity import agree
from xdistill.losses.supcon import supcon


def twin(anchor, key, target, valid, temperature):
    anchor, key, target = kept(valid, anchor.tolist(), key.tolist(), target)
    values = []
    for i in range(len(anchor)):
        among = candidates(i, len(anchor), target)
        p = softmax([cosine(anchor[i], key[j]) / temperature for j in among])
        values.append(
            mean([-math.log(p[k]) for k, j in enumerate(among) if same_kind(i, j, target)])
        )
    return mean(values)


def test_closed_form():
    # Two classes, three rows on two axes; T = 1. Rows 0 and 1 meet e, e, 1; row 2 meets 1, 1, e.
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 5.0]])
    value = supcon(rows, rows, torch.tensor([0, 0, 1]), temperature=1.0)
    e = math.e
    exact = (2 * math.log((2 * e + 1) / e) + math.log((2 + e) / e)) / 3
    torch.testing.assert_close(value, torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", TARGETS)
def test_twin(target, valid):
    anchor, key = rows64(6, 5), rows64(6, 5, seed=1)
    value = supcon(anchor, key, optional(target), optional(valid), 0.2)
    close(value, twin(anchor, key, target, valid, 0.2))


def test_without_labels_it_is_one_direction_of_infonce():
    anchor, key = rows64(6, 5), rows64(6, 5, seed=1)
    scores = torch.nn.functional.normalize(anchor) @ torch.nn.functional.normalize(key).T / 0.1
    exact = torch.nn.functional.cross_entropy(scores, torch.arange(6)).item()
    for target in (None, torch.full((6,), -1), torch.arange(6)):
        close(supcon(anchor, key, target), exact)


def test_an_unlabelled_row_changes_nothing_for_labelled_anchors():
    anchor, key = rows64(3, 5), rows64(3, 5, seed=1)
    target = torch.tensor([0, 1, -1])
    labelled = supcon(anchor[:2], key[:2], target[:2])
    scores = torch.nn.functional.normalize(anchor) @ torch.nn.functional.normalize(key).T / 0.1
    unlabelled = torch.nn.functional.cross_entropy(scores[2:], torch.tensor([2]))
    torch.testing.assert_close(3 * supcon(anchor, key, target), 2 * labelled + unlabelled)


def test_gradcheck():
    target, valid = torch.tensor([0, 0, -1, 1]), torch.tensor([True, True, True, False])
    gradcheck(lambda a, k: supcon(a, k, target, valid), rows64(4, 3), rows64(4, 3, seed=1))


@pytest.mark.parametrize("labels", [[0, 1, 1, 0, 2, 1, 0], [0, 1, 2, 3, 4, 5, 6]])
def test_parity_with_pytorch_metric_learning(labels):
    """Its anchors are the embeddings and its keys the reference set, the own pair among them."""
    target, theirs = torch.tensor(labels), SupConLoss(temperature=0.2)
    keys = target.clone()  # given the very tensor, it takes anchors and keys for one set
    agree(
        lambda a, k: supcon(a, k, target, None, 0.2),
        lambda a, k: theirs(a, target, ref_emb=k, ref_labels=keys),
        rows64(7, 5),
        rows64(7, 5, seed=1),
    )
