from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import xdistill as xd
from xdistill.diagnosis import diagnose, expected_gain
from xdistill.diagnosis.diagnose import outputs_of
from xdistill.types import Outputs


class Linear(nn.Module):
    """The first columns of the input as embedding, and logits along fixed directions."""

    def __init__(self, modality: str, width: int, classes: int | None, batch_norm: bool = False):
        super().__init__()
        self.modality = modality
        self.width = width
        self.norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
        self.head = nn.Linear(width, classes) if classes else None

    def forward(self, x):
        embedding = self.norm(x[:, : self.width])
        return Outputs(embedding, None if self.head is None else self.head(embedding))


def pair(rows: int, seed: int, hidden: int = 0):
    """Classes that the teacher's signal shows clearly and the student's faintly."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(rows) % 3
    centre = torch.eye(3)[target]
    cheap = torch.cat([centre, torch.zeros(rows, 5)], dim=1)
    cheap = cheap + 0.6 * torch.randn(rows, 8, generator=generator)
    dear = 4 * centre + 0.3 * torch.randn(rows, 3, generator=generator)
    shown = target.clone()
    shown[rows - hidden :] = -1
    return xd.PairedDataset(
        {"inertial": cheap, "tabular": dear}, shown, classes=("a", "b", "c"), group=range(rows)
    )


def teacher() -> Linear:
    network = Linear("tabular", 3, 3)
    with torch.no_grad():
        network.head.weight.copy_(3 * torch.eye(3))
        network.head.bias.zero_()
    return network


def test_a_good_teacher_of_unlabelled_rows_helps_and_says_so():
    train, val = pair(600, 0, hidden=585), pair(300, 1)
    found = diagnose(Linear("inertial", 8, None), teacher(), train, val)
    one = found.measures
    assert (one.rows, one.labelled) == (600, 15)
    assert one.teacher > 0.95
    assert one.probe_gain > 0.03
    assert one.both_probe > one.student_probe[1.0] + 0.1
    assert found.expected == expected_gain(600, 15)
    assert found.expected.low < found.expected.gain < found.expected.high
    text = str(found)
    assert "600, 15" in text and "expected gain" in text
    assert any("noisy" in note for note in found.notes)


def test_with_all_labels_there_is_nothing_to_tell_a_probe():
    found = diagnose(Linear("inertial", 8, None), teacher(), pair(300, 0), pair(300, 1))
    assert found.measures.probe_gain == 0
    assert any("every row is labelled" in note for note in found.notes)


def test_a_teacher_that_answers_at_random_does_not_help():
    train, val = pair(300, 0, hidden=200), pair(300, 1)
    wrong = teacher()
    with torch.no_grad():
        wrong.head.weight.copy_(wrong.head.weight.roll(1, dims=0))
    assert diagnose(Linear("inertial", 8, None), wrong, train, val).measures.probe_gain < -0.1


def test_cached_outputs_of_the_teacher_are_taken():
    train, val = pair(300, 0, hidden=285), pair(90, 1)
    told = train.with_outputs("tabular", outputs_of(teacher(), train, "tabular"))
    first = diagnose(Linear("inertial", 8, None), teacher(), train, val)
    again = diagnose(Linear("inertial", 8, None), teacher(), told, val)
    assert again.measures == dataclasses.replace(
        first.measures, teacher_information=pytest.approx(first.measures.teacher_information)
    )


def test_networks_are_left_as_they_were():
    student = Linear("inertial", 8, None, batch_norm=True).train()
    before = {name: one.clone() for name, one in student.state_dict().items()}
    diagnose(student, teacher(), pair(90, 0, hidden=45), pair(90, 1))
    assert student.training
    assert all(torch.equal(before[name], one) for name, one in student.state_dict().items())


def test_rows_that_lack_a_modality_are_left_out():
    train = pair(300, 0, hidden=200)
    has = torch.arange(300) % 2 == 0
    found = diagnose(
        Linear("inertial", 8, None), teacher(), train.replace(valid={"tabular": has}), pair(90, 1)
    )
    assert (found.measures.rows, found.measures.labelled) == (150, 50)


def test_mistakes_are_told_apart():
    train, val, student = pair(90, 0), pair(90, 1), Linear("inertial", 8, None)
    with pytest.raises(ValueError, match="0 of them are labelled"):
        diagnose(student, teacher(), train.replace(target=torch.full((90,), -1)), val)
    with pytest.raises(ValueError, match="logits of the 3 classes, got none"):
        diagnose(student, Linear("tabular", 3, None), train, val)
    with pytest.raises(ValueError, match="got 4 of them"):
        diagnose(student, Linear("tabular", 3, 4), train, val)
    with pytest.raises(ValueError, match="video"):
        diagnose(Linear("video", 8, None), teacher(), train, val)


def test_the_more_rows_a_label_has_the_more_is_expected():
    assert expected_gain(1000, 10).gain > expected_gain(1000, 500).gain
    for labelled in (0, 1001):
        with pytest.raises(ValueError, match="expected 1 to 1000 labelled rows"):
            expected_gain(1000, labelled)
