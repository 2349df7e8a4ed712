from __future__ import annotations

from types import SimpleNamespace

import torch

from xdistill.experiment.benchmark import Night, stages_of_night
from xdistill.experiment.methods import TEACHER


def test_a_teacher_without_some_rows_is_drawn_at_its_own():
    """Five rows of a night among seven, of which the teacher lacks the third and the sixth."""
    night = Night(rows=[6, 1, 2, 3, 4], start_h=[0.0, 0.1, 0.2, 0.3, 0.4], title="one")
    student = SimpleNamespace(predicted=[0, 1, 2, 3, 4, 5, 6])
    teacher = SimpleNamespace(predicted=[10, 11, 13, 14, 16])
    has = torch.tensor([True, True, False, True, True, False, True])
    drawn, stages = stages_of_night(night, {TEACHER: teacher, "student": student}, {TEACHER: has})
    assert drawn == [0, 1, 3, 4]
    assert stages == {TEACHER: [16, 11, 13, 14], "student": [6, 1, 3, 4]}


def test_with_every_row_nothing_is_left_out():
    night = Night(rows=[2, 0], start_h=[0.0, 0.1], title="one")
    found = {TEACHER: SimpleNamespace(predicted=[7, 8, 9])}
    assert stages_of_night(night, found, {TEACHER: torch.ones(3, dtype=torch.bool)}) == (
        [0, 1],
        {TEACHER: [9, 7]},
    )
