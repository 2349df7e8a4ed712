"""From stored samples to a signal: band-pass filter and another rate, part by part.

A part is what was recorded without a break. Each is filtered by itself, forwards and backwards, so
that nothing is smeared across a gap and nothing is shifted.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from xdistill.data.files.extra import reader
from xdistill.sleep.recordings.source import Run

HIGH_PASS_ORDER, LOW_PASS_ORDER = 3, 8
"""Of Butterworth filters, which run twice: 0.5 and 30 Hz keep more than 90 %."""
WHOLE_RATIO = 1000
"""Rates whose ratio has no larger numbers are changed by a polyphase filter, exactly."""
DRIFT_SAMPLES = 0.005
"""How much such a ratio may be off at the end of a part; else samples are interpolated."""
NYQUIST_SHARE = 0.9
"""The highest band edge, as a share of half the rate."""


class Band(NamedTuple):
    """What is kept of a kind of signal.

    Attributes:
        low_hz: lower edge of the band.
        high_hz: upper edge.
        rate_hz: samples a second of the result.
        least_hz: the lowest rate from which the signal is still of use.
    """

    low_hz: float
    high_hz: float
    rate_hz: int
    least_hz: float


BANDS = {
    "eeg": Band(0.3, 35.0, 100, 40.0),
    "eog": Band(0.3, 35.0, 100, 40.0),
    "emg": Band(10.0, 45.0, 100, 45.0),
    "resp": Band(0.05, 5.0, 25, 1.0),
}
"""EEG and EOG as in the AASM manual; the upper edges lie below half of the result's rate."""


def band_at(band: Band, rate_hz: float, what: str) -> Band:
    """The band, with a lower upper edge where the rate holds no higher frequencies.

    Raises:
        ValueError: the rate is too low for the kind of signal.
    """
    if rate_hz < band.least_hz:
        raise ValueError(
            f"{what} has {rate_hz:g} samples a second, expected at least {band.least_hz:g} for "
            f"frequencies from {band.low_hz:g} Hz; leave the channel out, or export the recording "
            "at its full rate"
        )
    highest = NYQUIST_SHARE * rate_hz / 2
    if highest >= band.high_hz:
        return band
    warnings.warn(
        f"{what} has {rate_hz:g} samples a second, too few for frequencies to {band.high_hz:g} Hz: "
        f"the band ends at {highest:.3g} Hz",
        stacklevel=2,
    )
    return band._replace(high_hz=highest)


def conditioned(
    stored: Float64[np.ndarray, " n"],
    rate_hz: float,
    runs: Sequence[Run],
    band: Band,
    samples: int,
) -> Float32[np.ndarray, " t"]:
    """The signal at the band's rate, from the recording's first sample on; 0 in gaps.

    Args:
        stored: samples of all parts, one after the other.
        rate_hz: of ``stored``.
        runs: when each part was recorded.
        band: as `band_at` gives it.
        samples: of the result.
    """
    result = np.zeros(samples, np.float32)
    for run in runs:
        part = stored[run.samples(rate_hz)]
        if len(part) < 2:
            continue
        values = resample(band_pass(part, rate_hz, band), rate_hz, band.rate_hz)
        at = round(run.start_s * band.rate_hz)
        count = min(len(values), samples - at)
        result[at : at + count] = values[:count]
    return result


def band_pass(
    values: Float64[np.ndarray, " n"], rate_hz: float, band: Band
) -> Float64[np.ndarray, " n"]:
    """Butterworth filters, forwards and backwards: no shift.

    The ends are mirrored as they are. An odd mirror, SciPy's default, would step by twice the last
    value.
    """
    signal = reader("scipy.signal", "signals", "sleep")
    high = signal.butter(HIGH_PASS_ORDER, band.low_hz, "highpass", fs=rate_hz, output="sos")
    low = signal.butter(LOW_PASS_ORDER, band.high_hz, "lowpass", fs=rate_hz, output="sos")
    padding = min(len(values) - 1, round(3 * rate_hz / band.low_hz))
    return signal.sosfiltfilt(
        np.concatenate([high, low]), values - values.mean(), padtype="even", padlen=padding
    )


def resample(
    values: Float64[np.ndarray, " n"], rate_hz: float, to_hz: int
) -> Float64[np.ndarray, " m"]:
    """Values at another rate; sample k is that of the time ``k / to_hz`` since the first.

    No sample is off by more than a small part of one, however long the signal is. A lower rate
    than twice the highest frequency gives aliases: filter before.
    """
    ratio = Fraction(to_hz / rate_hz).limit_denominator(WHOLE_RATIO)
    count = int(np.ceil(len(values) * to_hz / rate_hz - 1e-6))
    exact = abs(float(ratio) * rate_hz / to_hz - 1) * count < DRIFT_SAMPLES
    if ratio == 1 and exact:
        return values
    if exact and ratio.numerator <= WHOLE_RATIO:
        signal = reader("scipy.signal", "signals", "sleep")
        found = signal.resample_poly(values, ratio.numerator, ratio.denominator, padtype="line")
        return found[:count]
    return _interpolated(values, rate_hz, to_hz, count)


def _interpolated(
    values: Float64[np.ndarray, " n"], rate_hz: float, to_hz: int, count: int
) -> Float64[np.ndarray, " m"]:
    """By a spline of the fifth order, for which there must be many samples in each period."""
    factor = int(np.ceil(4 * to_hz / rate_hz))
    if factor > 1:
        signal = reader("scipy.signal", "signals", "sleep")
        values = signal.resample_poly(values, factor, 1, padtype="line")
    places = np.arange(count) * (rate_hz * factor / to_hz)
    ndimage = reader("scipy.ndimage", "signals", "sleep")
    return ndimage.map_coordinates(values, places[None], order=5, mode="mirror")
