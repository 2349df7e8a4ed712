"""Other rates without a shift, against SciPy and against what is known."""

import numpy as np
import pytest
from scipy import signal

from tests.sleep.recordings.files import eeg_like, sines
from xdistill.sleep.recordings.conditioning import BANDS, band_pass, conditioned, resample
from xdistill.sleep.recordings.source import Run


@pytest.mark.parametrize("rate_hz, count", [(256, 15360), (512, 30720), (128, 7680), (200, 12000)])
def test_as_scipys_fourier_method(rate_hz, count):
    values = eeg_like(60, rate_hz)
    ours, theirs = resample(values, rate_hz, 100), signal.resample(values, 6000)
    assert len(values) == count and len(ours) == 6000
    assert abs(ours - theirs)[100:-100].max() < 0.05  # of 25 µV; the ends differ in what follows


@pytest.mark.parametrize("rate_hz", [49.9, 199.996])
def test_eight_hours_stay_aligned(rate_hz):
    """A pulse of 0.1 s in the first and the last minute, where a drift would have summed up."""
    seconds = 8 * 3600
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    places = (30.123, seconds - 30.456)
    values = sum(np.exp(-0.5 * ((time - at) / 0.05) ** 2) for at in places)
    found = resample(np.asarray(values), rate_hz, 100)
    assert len(found) == pytest.approx(seconds * 100, abs=2)
    for at in places:
        near = slice(round(at * 100) - 100, round(at * 100) + 100)
        weights = found[near]
        centre = (np.arange(near.start, near.stop) / 100 * weights).sum() / weights.sum()
        assert abs(centre - at) < 0.001  # a tenth of a sample


@pytest.mark.parametrize("rate_hz", [199.996, 100.003, 49.90017, 255.99])
def test_odd_rates_give_known_values(rate_hz):
    found = resample(sines(40, rate_hz, (2.0, 15.0)), rate_hz, 100)
    wanted = sines(41, 100, (2.0, 15.0))[: len(found)]
    assert abs(found - wanted)[200:-200].max() < 0.2


@pytest.mark.parametrize("hz, kept", [(0.05, 0.0), (1.0, 1.0), (10.0, 1.0), (25.0, 1.0), (50, 0.0)])
def test_the_band_of_an_eeg(hz, kept):
    values = sines(120, 256, (hz,))
    found = band_pass(values, 256, BANDS["eeg"])[256 * 30 : -256 * 30]
    assert np.sqrt(2) * found.std() / 30 == pytest.approx(kept, abs=0.03)


def test_a_constant_is_taken_away():
    found = band_pass(np.full(2560, 5000.0) + sines(10, 256, (5.0,)), 256, BANDS["eeg"])
    assert abs(found.mean()) < 0.5


def test_a_part_shorter_than_the_filter():
    runs = [Run(0.0, 0.0, 0.5), Run(10.0, 0.5, 20.0)]
    values = sines(20.5, 200, (5.0,))
    found = conditioned(values, 200, runs, BANDS["eeg"], 3000)
    assert np.isfinite(found).all() and (found[50:1000] == 0).all() and found[1000:].std() > 15
