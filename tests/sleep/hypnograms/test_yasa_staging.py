"""Staging by YASA of simulated sleep, whose stages are known."""

import numpy as np
import pytest

from xdistill.data.simulation.eeg import render_eeg
from xdistill.data.sleep_stages import N2, N3, REM, STAGES, W
from xdistill.sleep.hypnograms import stage_with_yasa
from xdistill.sleep.marks import Mark
from xdistill.sleep.recordings import Recording, Signal

DEPTH = {W: 0.0, N2: 0.4, N3: 0.9, REM: 0.0}
BOUTS = ((W, 10), (N2, 14), (N3, 16), (W, 6))


def recording(eeg: np.ndarray, gaps=()) -> Recording:
    signals = {"eeg": Signal("eeg", ("C4-M1",), 100.0, eeg[None].astype(np.float32))}
    rng = np.random.default_rng(1)
    emg = rng.normal(0, 10, len(eeg)).astype(np.float32)
    signals["emg"] = Signal("emg", ("Chin",), 100.0, emg[None])
    return Recording("night.edf", None, len(eeg) / 100, signals, tuple(gaps))


@pytest.fixture(scope="module")
def night() -> tuple[np.ndarray, np.ndarray]:
    """µV and true stages of 46 epochs."""
    stages = np.concatenate([np.full(count, stage) for stage, count in BOUTS])
    shape = (len(stages), 6)
    state = np.repeat(stages[:, None], 6, axis=1).astype(np.int8)
    depth = np.array([DEPTH[stage] for stage in stages], np.float32)[:, None] * np.ones(shape)
    eeg = render_eeg(
        np.random.default_rng(3), state, depth.astype(np.float32), np.zeros(shape, np.float32)
    )
    return eeg.ravel(), stages


def test_stages_and_probabilities(night):
    """Also: epochs in a gap and flat ones have no stage."""
    eeg, stages = night[0].copy(), night[1]
    eeg[5 * 3000 : 6 * 3000] = 0
    eeg[43 * 3000 : 44 * 3000] = 0
    found = stage_with_yasa(recording(eeg, gaps=[(150.0, 180.0)]))
    assert found.scorer.startswith("YASA 0.") and found.start_s == 0
    assert found.probabilities is not None
    assert found.probabilities.shape == (46, len(STAGES)) and found.stages.dtype == np.int8
    none = np.array([epoch in (5, 43) for epoch in range(46)])
    assert (found.stages[none] == -1).all() and np.isnan(found.probabilities[none]).all()
    assert [bool(marks) for marks in found.marks] == none.tolist()
    assert found.marks[5] == {Mark.UNSCORED}
    kept = found.probabilities[~none]
    assert np.allclose(kept.sum(axis=1), 1, atol=1e-4)
    assert np.array_equal(kept.argmax(axis=1), found.stages[~none])
    # Slow waves are what YASA and the simulation agree about.
    share = [(found.stages[stages == each] == N3).mean() for each in (W, N2, N3)]
    assert share[2] > 0.5 and share[2] > share[0] + 0.4 and share[2] > share[1] + 0.4


def test_what_it_needs(night):
    eeg = night[0]
    with pytest.raises(ValueError, match="has 270 s, and YASA needs 300 s or more"):
        stage_with_yasa(recording(eeg[:27000]))
    with pytest.raises(ValueError, match="'C4-M1' is flat or missing in all 12 epochs"):
        stage_with_yasa(recording(0 * eeg[:36000]))
    with pytest.raises(ValueError, match=r"without the eeg channel 'F4-M1'; it has C4-M1: read it"):
        stage_with_yasa(recording(eeg), eeg="F4-M1")
    with pytest.raises(ValueError, match=r"without the eog channel 'E1'; it has none"):
        stage_with_yasa(recording(eeg), eog="E1")
    with pytest.raises(ValueError, match="age and male go together"):
        stage_with_yasa(recording(eeg), age=40)
    with pytest.raises(ValueError, match="YASA needs an EEG, got eeg=''"):
        stage_with_yasa(recording(eeg), eeg="")
