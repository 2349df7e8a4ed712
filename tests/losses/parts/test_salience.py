from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.losses.loops import close, rows64
from xdistill.losses.parts.salience import permutation_salience


def twin(student, teacher, readout, repeats, seed):
    """Algorithm 1, one channel and one permutation at a time, on Python lists."""

    def apart(rows):
        gaps = [
            (s - t) ** 2
            for ours, row in zip(student, rows, strict=True)
            for s, t in zip(ours, readout(row), strict=True)
        ]
        return sum(gaps) / len(gaps)

    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(teacher), generator=generator).tolist() for _ in range(repeats)]
    salience = []
    for channel in range(len(teacher[0])):
        grown = 0.0
        for order in orders:
            mixed = [list(row) for row in teacher]
            for i, source in enumerate(order):
                mixed[i][channel] = teacher[source][channel]
            grown += apart(mixed) - apart(teacher)
        salience.append(grown / repeats)
    return salience


def test_closed_form():
    """One permutation swaps the two rows; the channel that both share costs 2·2²/(2·2) = 2."""
    teacher = torch.tensor([[1.0, 5.0], [-1.0, 5.0]])
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    seed = next(
        seed
        for seed in range(9)
        if torch.randperm(2, generator=torch.Generator().manual_seed(seed)).tolist() == [1, 0]
    )
    salience = permutation_salience(student, teacher, repeats=1, seed=seed)
    torch.testing.assert_close(salience, torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("repeats", [1, 3])
def test_twin(repeats):
    student, teacher, weight = rows64(6, 2), rows64(6, 3, seed=1), rows64(3, 2, seed=2)

    def classify(row):
        return [
            sum(x * w for x, w in zip(row, column, strict=True)) for column in weight.T.tolist()
        ]

    salience = permutation_salience(student, teacher, lambda x: x @ weight, None, repeats, seed=4)
    expected = twin(student.tolist(), teacher.tolist(), classify, repeats, seed=4)
    for ours, theirs in zip(salience, expected, strict=True):
        close(ours, theirs)


def test_parity_with_the_covariance_that_it_estimates():
    """Without a readout a permutation costs 2·cov(s_j, t_j)/D on average."""
    teacher = rows64(400, 4)
    student = teacher * torch.tensor([2.0, 1.0, 0.0, -1.0]) + rows64(400, 4, seed=1)
    salience = permutation_salience(student, teacher, repeats=200)
    covariance = [np.cov(student[:, j], teacher[:, j], bias=True)[0, 1] for j in range(4)]
    expected = 2 * torch.tensor(np.array(covariance)) / 4
    torch.testing.assert_close(salience, expected, rtol=0, atol=0.02)


def test_rows_without_a_teacher_do_not_count():
    student, teacher = rows64(8, 3), rows64(8, 3, seed=1)
    valid = torch.tensor([True, False, True, True, False, True, True, True])
    teacher[~valid] = torch.nan
    ours = permutation_salience(student, teacher, valid=valid)
    torch.testing.assert_close(ours, permutation_salience(student[valid], teacher[valid]))


def test_it_leaves_everything_as_it_was():
    teacher = rows64(8, 3).requires_grad_()
    readout = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).double().train()
    before, state = teacher.detach().clone(), torch.get_rng_state()
    salience = permutation_salience(rows64(8, 3, seed=1), teacher, readout)
    again = permutation_salience(rows64(8, 3, seed=1), teacher, readout)
    assert torch.equal(salience, again)  # dropout is off
    assert torch.equal(teacher, before) and not salience.requires_grad
    assert torch.equal(state, torch.get_rng_state())
    assert readout.training and readout[1].training
    other = permutation_salience(rows64(8, 3, seed=1), teacher, readout, seed=1)
    assert not torch.equal(salience, other)


def test_it_finds_the_channels_that_both_modalities_hold():
    """The paper's table 2: ten decisive features of the teacher alone, ten of both, thirty of none.

    Both linear networks are trained together by cross-entropies and their distance (algorithm 1).
    """
    torch.manual_seed(0)
    decisive, rich, poor = torch.randn(500, 20), torch.randn(500, 50), torch.randn(500, 50)
    target = (decisive.sum(dim=1) > 0).long()
    rich[:, :20], poor[:, :10] = decisive, decisive[:, :10]
    teacher, student = nn.Linear(50, 2), nn.Linear(50, 2)
    optimizer = torch.optim.SGD([*teacher.parameters(), *student.parameters()], 0.1, momentum=0.9)
    for _ in range(150):
        theirs, ours = teacher(rich), student(poor)
        loss = F.cross_entropy(theirs, target) + F.cross_entropy(ours, target)
        optimizer.zero_grad()
        (loss + F.mse_loss(theirs, ours)).backward()
        optimizer.step()
    salience = permutation_salience(student(poor), rich, teacher)
    found = salience.argsort(descending=True)[:10]
    assert (found < 10).sum() >= 9


def test_errors():
    with pytest.raises(ValueError, match="got 3 rows of the student, 4 of the teacher"):
        permutation_salience(rows64(3, 2), rows64(4, 2))
    with pytest.raises(ValueError, match="repeats=0"):
        permutation_salience(rows64(3, 2), rows64(3, 2), repeats=0)
    with pytest.raises(ValueError, match="give logits and readout=the teacher's classifier"):
        permutation_salience(rows64(3, 2), rows64(3, 4))
