"""The waveform of breathing in a film of a sleeper, whose chest moves less than a pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import signal

LOW_HZ, HIGH_HZ = 0.1, 0.5
"""Six to thirty breaths a minute."""
NOISE_HZ = 0.7
"""What changes faster is noise."""
SIDE = 48
"""The picture is pooled to at least so many places along each side."""
PLACES = 50
"""So many places, those in which breathing stands out most, make the waveform."""
BY_CHANCE, CLEAR = 0.08, 0.30
"""Share of what the chosen places do that they do as one, less the share of the next thing that
they do: in noise, and beyond it in clear breathing."""
STRONGEST, BURSTS, EVEN = 0.1, 0.6, 0.4
"""The strongest tenth of a waveform holds this share of its power where it is nothing but bursts of
movement, and less than this where it is breathing; a sine holds 0.2."""
TOO_LITTLE_S = 12.0
"""A window with less that is still has no waveform."""


class Waveform(NamedTuple):
    """The waveform of breathing.

    Attributes:
        values: [W] of the epoch before, where there is one, and of this one; in units of the
            picture's contrast; which way is up is unknown, but it stays the same from epoch to
            epoch of calm breathing.
        quality: 0 to 1, by what the chosen places do as one and by how much is still.
    """

    values: np.ndarray
    quality: float


class BreathingFilter:
    """Makes the waveform of epoch after epoch, each with the one before as its run-up."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._last: np.ndarray | None = None

    def forget(self) -> None:
        """The next epoch does not follow on the last one."""
        self._before = self._last = None

    def __call__(self, change: np.ndarray, still: np.ndarray) -> Waveform:
        """The waveform of the epoch before and this one.

        Args:
            change: [L, B, B] from sample to sample, in units of the picture's contrast.
            still: [L] where nothing but breathing moves; elsewhere the change is left out.
        """
        pooled = pool(change) * still[:, None].astype(np.float32)
        epoch = pooled, still
        if self._before is not None:
            pooled = np.concatenate([self._before[0], pooled])
            still = np.concatenate([self._before[1], still])
        self._before = epoch
        values, quality = breathing_of(pooled, still, len(epoch[1]), self.rate_hz)
        values = self._directed(values, len(epoch[1]))
        self._last = values[-len(epoch[1]) :]
        return Waveform(values, quality)

    def _directed(self, values: np.ndarray, own: int) -> np.ndarray:
        """In the direction that the waveform had in the epoch before."""
        if self._last is not None and len(values) > own and self._last @ values[:-own] < 0:
            return -values
        return values


def pool(change: np.ndarray) -> np.ndarray:
    """[L, B, B] to [L, n * n], means over squares of the picture."""
    samples, side, _ = change.shape
    step = max(1, side // SIDE)
    n = side // step
    part = change[:, : n * step, : n * step]
    return part.reshape(samples, n, step, n, step).mean(axis=(2, 4)).reshape(samples, n * n)


def breathing_of(
    change: np.ndarray, still: np.ndarray, own: int, rate_hz: int
) -> tuple[np.ndarray, float]:
    """The waveform [W] and its quality over the last ``own`` samples.

    The changes of each place are summed to its course, which thus keeps no step of a movement that
    was left out, and filtered to the band. The places where the power in the band is largest
    against that of the noise are combined by their first principal component. The quality says
    how much more of what they do that is than their second.

    Args:
        change: [W, n] of each place, 0 where not ``still``.
        still: [W] where nothing but breathing moves.
        own: samples of the epoch.
        rate_hz: samples a second.
    """
    if still.sum() < TOO_LITTLE_S * rate_hz:
        return np.zeros(len(change), np.float32), 0.0
    course = signal.detrend(np.cumsum(change, axis=0, dtype=np.float32), axis=0)
    snr = _signal_to_noise(course, rate_hz)
    chosen = np.argsort(snr)[-PLACES:]
    band = signal.butter(2, (LOW_HZ, HIGH_HZ), "bandpass", fs=rate_hz, output="sos")
    moves = signal.sosfiltfilt(band, course[:, chosen], axis=0)
    spread = moves[still].std(axis=0)
    weights = np.sqrt(np.clip(snr[chosen], 1e-6, 50)) / np.maximum(spread, 1e-9)
    moves *= weights
    powers, directions = np.linalg.eigh(np.cov(moves[still].T))
    direction = directions[:, -1]
    together = (powers[-1] - powers[-2]) / max(powers.sum(), 1e-12)
    values = moves @ direction / (weights @ np.abs(direction))
    quality = np.clip((together - BY_CHANCE) / CLEAR, 0, 1)
    quality *= np.clip((BURSTS - _in_bursts(values[still])) / (BURSTS - EVEN), 0, 1)
    return values.astype(np.float32), float(quality * still[-own:].mean())


def _in_bursts(values: np.ndarray) -> float:
    """Share of the power that its strongest tenth holds."""
    power = np.sort(values**2)
    return float(power[-max(1, round(STRONGEST * len(power))) :].sum() / max(power.sum(), 1e-12))


def _signal_to_noise(course: np.ndarray, rate_hz: int) -> np.ndarray:
    """[n] of the peak of the power in the band to the mean of the power above it."""
    window = np.hanning(len(course)).astype(np.float32)[:, None]
    power = np.abs(np.fft.rfft(course * window, axis=0)) ** 2
    at_hz = np.fft.rfftfreq(len(course), 1 / rate_hz)
    band = (at_hz >= LOW_HZ) & (at_hz <= HIGH_HZ)
    above = at_hz >= min(NOISE_HZ, rate_hz / 3)
    noise = power[above].mean(axis=0)
    return power[band].mean(axis=0) / np.maximum(noise, 1e-12)
