"""Epochs on a grid, and what is wrong with each."""

import numpy as np
import pytest

from tests.sleep.recordings.files import eeg_like
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.recordings import Recording, Signal, signal_epochs


def recording(values: np.ndarray, gaps=(), clipped=()) -> Recording:
    eeg = Signal("eeg", ("C4-M1",), 100.0, np.atleast_2d(values).astype(np.float32), clipped)
    return Recording("n.edf", None, eeg.values.shape[1] / 100, {"eeg": eeg}, tuple(gaps))


def clean(epochs: int = 4) -> np.ndarray:
    return eeg_like(30 * epochs, 100)


def test_all_epochs_without_a_grid():
    found = signal_epochs(recording(eeg_like(100, 100)), "eeg")
    assert found.values.shape == (3, 1, 3000) and found.values.dtype == np.float32
    assert found.marks == (frozenset(),) * 3
    assert np.array_equal(found.values[1, 0], eeg_like(100, 100).astype(np.float32)[3000:6000])


@pytest.mark.parametrize("start_s", [0.0, 7.0, 12.34, 30.0])
def test_the_grids_start(start_s):
    ramp = np.arange(12000.0)
    found = signal_epochs(recording(ramp), "eeg", Grid(start_s, 2))
    assert np.array_equal(found.values[:, 0, 0], [start_s * 100, start_s * 100 + 3000])


def test_beyond_the_recording_there_are_zeros_and_marks():
    found = signal_epochs(recording(clean(2)), "eeg", Grid(-45.0, 5))
    assert found.marks[0] == {Mark.NO_EEG} and Mark.EEG_GAP in found.marks[1]
    assert found.marks[2] == frozenset()
    assert Mark.EEG_GAP in found.marks[3] and found.marks[4] == {Mark.NO_EEG}
    assert (found.values[0] == 0).all() and (found.values[1, 0, :1500] == 0).all()
    assert np.array_equal(found.values[1, 0, 1500:], clean(2).astype(np.float32)[:1500])


def test_a_drift_takes_the_nearest_samples():
    ramp = np.arange(100 * 6000.0)
    grid = Grid(0.0, 100, drift=1e-3)
    found = signal_epochs(recording(ramp), "eeg", grid).values[:, 0]
    times = np.array([[grid.start_of(epoch)] for epoch in range(100)])
    wanted = (times + np.arange(3000) / 100 * 1.001) * 100
    assert abs(found - wanted).max() <= 0.51


def test_gaps():
    values = clean(4)
    values[3500:4000] = 0
    values[6000:9000] = 0
    found = signal_epochs(recording(values, gaps=[(35.0, 40.0), (60.0, 90.0)]), "eeg")
    assert found.marks == (
        frozenset(),
        frozenset({Mark.EEG_GAP}),
        frozenset({Mark.NO_EEG}),
        frozenset(),
    )


@pytest.mark.parametrize(
    "change, mark",
    [
        (lambda x: np.concatenate([x[:1000], 0 * x[1000:1700], x[1700:]]), Mark.EEG_FLAT),
        (lambda x: np.concatenate([x[:1000], 20 * x[1000:1500], x[1500:]]), Mark.EEG_ARTEFACT),
        (lambda x: x + 60 * np.sin(2 * np.pi * 27 * np.arange(3000) / 100), Mark.EEG_ARTEFACT),
    ],
)
def test_flat_large_and_fast(change, mark):
    values = clean(3)
    values[3000:6000] = change(values[3000:6000])
    found = signal_epochs(recording(values), "eeg")
    assert found.marks == (frozenset(), frozenset({mark}), frozenset())


def test_slow_waves_and_spindles_are_no_artefact():
    time = np.arange(3000) / 100
    spindles = 40 * np.sin(2 * np.pi * 13 * time) * (time % 10 < 1)
    found = signal_epochs(recording(clean(1) + 100 * np.sin(2 * np.pi * time) + spindles), "eeg")
    assert found.marks == (frozenset(),)


def test_one_of_two_channels_is_enough():
    values = np.stack([clean(2), clean(2)])
    values[1, 3000:4000] = 0
    assert signal_epochs(recording(values), "eeg").marks[1] == {Mark.EEG_FLAT}


def test_clipped_seconds():
    found = signal_epochs(recording(clean(3), clipped=[(29.0, 31.0)]), "eeg")
    assert [Mark.EEG_CLIPPED in each for each in found.marks] == [True, True, False]


def test_a_kind_that_was_not_read():
    with pytest.raises(ValueError, match="was read without emg, only with eeg"):
        signal_epochs(recording(clean(1)), "emg")


def test_a_recording_shorter_than_an_epoch():
    found = signal_epochs(recording(eeg_like(20, 100)), "eeg")
    assert found.values.shape == (0, 1, 3000) and found.marks == ()
