"""A hypnogram on a recording's epochs: never shifted in silence."""

from contextlib import nullcontext

import numpy as np
import pytest

from xdistill.data.sleep_stages import N1, N2, N3, REM, W
from xdistill.sleep.grid import Grid
from xdistill.sleep.hypnograms import Hypnogram, grid_of, on_grid
from xdistill.sleep.marks import Mark

STAGES = (W, N1, N2, -1, N3, REM)
UNSCORED = frozenset({Mark.UNSCORED})


def hypnogram(start_s: float = 0.0, probabilities: bool = False) -> Hypnogram:
    marks = tuple(frozenset({Mark.SCORED_MOVEMENT}) if each < 0 else frozenset() for each in STAGES)
    made = np.eye(5, dtype=np.float32)[[0, 1, 2, 0, 3, 4]] if probabilities else None
    return Hypnogram(np.array(STAGES, np.int8), marks, start_s, made, "A")


def test_the_same_epochs_stay():
    found = on_grid(hypnogram(probabilities=True), Grid(0.0, 6))
    assert found.stages.tolist() == list(STAGES) and found.marks == hypnogram().marks
    assert found.start_s == 0 and found.scorer == "A" and found.stages.dtype == np.int8
    assert found.probabilities is not None and found.probabilities.argmax(1).tolist()[4:] == [3, 4]


def test_all_epochs_of_the_hypnogram_without_a_count():
    assert on_grid(hypnogram(60.0), Grid(60.0)).stages.tolist() == list(STAGES)


def test_shorter_than_the_recording():
    with pytest.warns(UserWarning, match="covers 6 of the recording's 9 epochs; the others"):
        found = on_grid(hypnogram(30.0, probabilities=True), Grid(0.0, 9))
    assert found.stages.tolist() == [-1, *STAGES, -1, -1]
    assert found.marks[0] == UNSCORED and found.marks[4] == {Mark.SCORED_MOVEMENT}
    assert found.probabilities is not None and np.isnan(found.probabilities[[0, 7, 8]]).all()


def test_longer_than_the_recording():
    with pytest.warns(UserWarning, match="3 of 6 epochs of the hypnogram .* outside the recording"):
        found = on_grid(hypnogram(-60.0), Grid(0.0, 3))
    assert found.stages.tolist() == [N2, -1, N3]


def test_a_few_frames_off_is_not_worth_a_word():
    assert on_grid(hypnogram(0.04), Grid(0.0, 6)).stages.tolist() == list(STAGES)


@pytest.mark.parametrize("off_s", [0.4, -0.9])
def test_less_than_a_second_off_is_said(off_s):
    with pytest.warns(UserWarning, match=r"begin 0.[49] s off the recording's, and are taken"):
        assert on_grid(hypnogram(off_s), Grid(0.0, 6)).stages.tolist() == list(STAGES)


@pytest.mark.parametrize("off_s", [7.0, 15.0, -11.0, 1.2])
def test_more_is_refused(off_s):
    with pytest.raises(ValueError, match=r"s off the recording's .*cut the recording into epochs"):
        on_grid(hypnogram(off_s), Grid(0.0, 6))


@pytest.mark.parametrize(
    "start_s, grid",
    [(0.0, Grid(0.0, 6)), (7.0, Grid(7.0, 5)), (67.0, Grid(7.0, 5)), (-23.0, Grid(7.0, 5))],
)
def test_a_grid_as_the_scorer_saw_it(start_s, grid):
    found = grid_of(hypnogram(start_s), 180.0)
    assert found == grid
    stages = hypnogram(start_s).stages
    first = round((start_s - grid.start_s) / 30)
    with pytest.warns(UserWarning) if start_s else nullcontext():
        shown = on_grid(hypnogram(start_s), found).stages
    for epoch, stage in enumerate(shown):
        at = epoch - first
        assert stage == (stages[at] if 0 <= at < 6 else -1)


def test_a_drift_that_leaves_the_epochs_is_refused():
    with pytest.raises(ValueError, match="epochs begin"):
        on_grid(hypnogram(), Grid(0.0, 6, drift=0.01))
    assert on_grid(hypnogram(), Grid(0.0, 6, drift=1e-4)).stages.tolist() == list(STAGES)
