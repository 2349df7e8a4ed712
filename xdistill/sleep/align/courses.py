"""What a recording and a film both show of a night: breathing, and movement.

Each becomes a course, which is scaled piece by piece, so that a strong minute counts no more than
a weak one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32

from xdistill.extras import import_extra

if TYPE_CHECKING:
    from xdistill.sleep.recordings.recording import Recording, Signal

BREATHING_ROW, ACTIVITY_ROW = 0, 1
"""Of the body's signals, see `VideoOptions.body_channels`."""
BREATHING_HZ = (0.1, 0.6)
MUSCLE_HZ = (30.0, 45.0)
BREATHING_RATE_HZ = 10
MOVEMENT_RATE_HZ = 5
SCALED_OVER_S = {"belt": 30.0, "movement": 120.0}
"""How long the pieces are that have a scale of their own."""
LEAST_SCALE = 0.05
"""Of the median scale: what is weaker is as good as nothing."""
MOST = 3.0
"""At so many scales a course is clipped."""


class Course(NamedTuple):
    """Something that changes over the night.

    Attributes:
        values: [t], clipped and without unit; 0 where nothing is known.
        known: [t] where something is known.
        rate_hz: samples a second.
        first_s: time of sample 0 on the recording's clock.
    """

    values: Float32[np.ndarray, " t"]
    known: np.ndarray
    rate_hz: int
    first_s: float


def belt_course(recording: Recording) -> Course | None:
    """Breathing as the belt has it; None without a belt."""
    belt = recording.signals.get("resp")
    if belt is None:
        return None
    known = _recorded(recording, belt)
    return _breathing(belt.values.astype(np.float64).sum(axis=0), known, belt.rate_hz)


def breathing_course(body: Float32[np.ndarray, "c t"], rate_hz: float) -> Course:
    """Breathing as the film shows it."""
    return _breathing(body[BREATHING_ROW], np.isfinite(body[BREATHING_ROW]), rate_hz)


def muscle_course(recording: Recording) -> Course | None:
    """Power of muscle between 30 and 45 Hz, in EMG or else EEG; None without either."""
    signal = recording.signals.get("emg") or recording.signals.get("eeg")
    if signal is None or signal.rate_hz < 2 * MUSCLE_HZ[1] * 1.05:
        return None
    known = _recorded(recording, signal)
    power = np.zeros(signal.values.shape[1])
    for values in signal.values:
        power += _band_passed(values.astype(np.float64), MUSCLE_HZ, signal.rate_hz) ** 2
    return _movement(power, known, signal.rate_hz, 0.0)


def activity_course(body: Float32[np.ndarray, "c t"], rate_hz: float) -> Course:
    """Activity as the film shows it: each sample is the change since the one before it."""
    activity = body[ACTIVITY_ROW]
    return _movement(activity, np.isfinite(activity), rate_hz, -0.5 / rate_hz)


def _recorded(recording: Recording, signal: Signal) -> np.ndarray:
    """[t] where the signal was recorded."""
    known = np.asarray(np.isfinite(signal.values).all(axis=0))
    for start_s, end_s in recording.gaps:
        known[round(start_s * signal.rate_hz) : round(end_s * signal.rate_hz)] = False
    return known


def _breathing(values: np.ndarray, known: np.ndarray, rate_hz: float) -> Course:
    wave = _band_passed(np.where(known, values, 0.0), BREATHING_HZ, rate_hz)
    at = np.arange(int(len(wave) / rate_hz * BREATHING_RATE_HZ)) / BREATHING_RATE_HZ
    before = np.minimum((at * rate_hz).astype(int), len(known) - 1)
    there = known[before]
    wave = np.where(there, np.interp(at, np.arange(len(wave)) / rate_hz, wave), 0.0)
    scale = _scale(np.abs(wave), there, BREATHING_RATE_HZ, SCALED_OVER_S["belt"])
    clipped = np.clip(wave / scale, -MOST, MOST)
    return Course(clipped.astype(np.float32), there, BREATHING_RATE_HZ, 0.0)


def _movement(values: np.ndarray, known: np.ndarray, rate_hz: float, shift_s: float) -> Course:
    """How far activity or power lies above what is usual around that time.

    A bin's time is its middle; a sample of activity is as long as the time to the next one.
    """
    bins = int(len(values) / rate_hz * MOVEMENT_RATE_HZ)
    edges = np.ceil(np.arange(bins + 1) * rate_hz / MOVEMENT_RATE_HZ - 1e-9).astype(int)
    count = np.add.reduceat(known, edges[:-1]).astype(float)
    total = np.add.reduceat(np.where(known, values, 0.0), edges[:-1])
    there = count > 0
    level = np.log(total / np.maximum(count, 1) + _least(values[known]))
    usual = _over_pieces(level, there, MOVEMENT_RATE_HZ, SCALED_OVER_S["movement"], np.median)
    above = np.where(there, level - usual, 0.0)
    scale = _scale(np.abs(above), there, MOVEMENT_RATE_HZ, SCALED_OVER_S["movement"])
    high = np.clip(above / scale - MOST, 0, MOST)
    middle_s = (rate_hz / MOVEMENT_RATE_HZ - 1) / 2 / rate_hz + shift_s
    return Course(high.astype(np.float32), there, MOVEMENT_RATE_HZ, middle_s)


def _least(values: np.ndarray) -> float:
    """What is added before the logarithm: a tenth of the mean, so that zeros have one."""
    return 0.1 * float(values.mean()) + 1e-12 if len(values) else 1.0


def _scale(size: np.ndarray, known: np.ndarray, rate_hz: float, piece_s: float) -> np.ndarray:
    scale = 1.4826 * _over_pieces(size, known, rate_hz, piece_s, np.median)
    usual = float(np.median(scale[known])) if known.any() else 0.0
    return np.maximum(scale, max(LEAST_SCALE * usual, 1e-9))


def _over_pieces(values, known, rate_hz: float, piece_s: float, measure) -> np.ndarray:
    """A measure of each piece of the course, interpolated between their middles: [t]."""
    length = max(1, round(rate_hz * piece_s))
    starts = np.arange(0, max(len(values) - length // 2, 1), length)
    pieces = [(values[s : s + length], known[s : s + length]) for s in starts]
    found = np.array([measure(v[k]) if k.any() else np.nan for v, k in pieces])
    if np.isnan(found).all():
        return np.zeros(len(values))
    good = ~np.isnan(found)
    return np.interp(np.arange(len(values)), (starts + length / 2)[good], found[good])


def _band_passed(values: np.ndarray, band_hz: tuple[float, float], rate_hz: float) -> np.ndarray:
    """Without shifting anything in time."""
    signal = import_extra("scipy.signal", "sleep", "aligning two clocks")
    top = min(band_hz[1], 0.45 * rate_hz)
    sos = signal.butter(2, (band_hz[0], top), "bandpass", fs=rate_hz, output="sos")
    if len(values) <= 30:
        return np.zeros(len(values))
    return signal.sosfiltfilt(sos, values)
