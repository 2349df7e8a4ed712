"""EEG of simulated sleep: epochs of 30 s at 100 Hz, in microvolts, with the AASM manual's signs.

Wakefulness has alpha and blinks; N1 theta and vertex waves; N2 spindles (11-16 Hz, at least 0.5 s)
and K-complexes; N3 slow waves of 0.5-2 Hz above 75 µV from peak to peak over more than 20 % of the
epoch; REM low voltage, sawtooth waves (2-6 Hz) and eye movements (AASM scoring manual, one
frontal-central derivation). To these come a 1/f background, muscle and movement artefacts, and
sleepers who differ in amplitude, in alpha (about one adult in ten has hardly any, as the AASM
manual notes), in spindles and in slow waves. Everything follows the microstates of 5 s and the
continuous depth of sleep, so that an epoch between two stages looks like both.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xdistill.data.simulation.hypnogram import MICRO_PER_EPOCH, MICRO_S
from xdistill.data.sleep_stages import EPOCH_S, N1, N2, N3, REM, W

SFREQ_HZ = 100
EPOCH_SAMPLES = EPOCH_S * SFREQ_HZ


class Brain(NamedTuple):
    """How one sleeper's EEG looks: frequencies in Hz, the rest factors around 1."""

    gain: float
    alpha_hz: float
    alpha: float
    spindle_hz: float
    spindle: float
    slow_wave: float
    muscle: float


Event = tuple[Callable[[np.random.Generator, Brain], np.ndarray], dict[int, float]]
"""What draws a wave, and how many there are a minute in each stage."""


def draw_brain(rng: np.random.Generator) -> Brain:
    """Draws one adult sleeper."""
    poor_alpha = rng.random() < 0.1
    return Brain(
        gain=float(rng.lognormal(0, 0.15)),
        alpha_hz=float(rng.normal(9.8, 0.7)),
        alpha=0.25 if poor_alpha else float(rng.lognormal(0, 0.2)),
        spindle_hz=float(rng.normal(13.2, 0.6)),
        spindle=float(rng.lognormal(0, 0.25)),
        slow_wave=float(rng.lognormal(0, 0.15)),
        muscle=float(rng.lognormal(0, 0.3)),
    )


def render_eeg(
    rng: np.random.Generator, state: np.ndarray, depth: np.ndarray, arousal: np.ndarray
) -> np.ndarray:
    """Renders ``n`` epochs of one sleeper: float32 [n, 3000] in µV.

    ``state``, ``depth`` and ``arousal`` are [n, m] microstates as ``Night`` holds them.
    """
    brain = draw_brain(rng)
    n = len(state)
    eeg = 7.0 * pink(rng, n)
    eeg += (
        _by_state(state, w=9.0, n1=2.5, n2=1.0, n3=1.0, rem=2.0)
        * brain.alpha
        * _waxing(rng, band(rng, n, brain.alpha_hz - 1, brain.alpha_hz + 1))
    )
    eeg += _by_state(state, w=3.5, n1=7.0, n2=6.0, n3=6.0, rem=7.0) * band(rng, n, 3.5, 7.5)
    eeg += _by_state(state, w=2.5, n1=1.8, n2=1.2, n3=0.8, rem=1.6) * band(rng, n, 16.0, 30.0)
    muscle = _by_state(state, w=4.0, n1=2.0, n2=1.2, n3=1.0, rem=0.6)
    eeg += brain.muscle * muscle * band(rng, n, 25.0, 48.0)
    eeg += brain.slow_wave * _slow_waves(rng, depth)
    _add_events(rng, eeg, state, depth, brain, _waves(brain) + EYES)
    _add_arousals(rng, eeg, arousal, brain)
    return (brain.gain * eeg).astype(np.float32)


def pink(rng: np.random.Generator, n: int) -> np.ndarray:
    """1/f noise above 0.3 Hz, of standard deviation 1: float64 [n, 3000]."""
    hz = np.fft.rfftfreq(EPOCH_SAMPLES, 1 / SFREQ_HZ)
    return _shaped(rng, n, np.where(hz >= 0.3, 1 / np.sqrt(np.maximum(hz, 0.3)), 0))


def band(rng: np.random.Generator, n: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Noise between two frequencies, soft at its edges, of standard deviation 1: [n, 3000]."""
    hz = np.fft.rfftfreq(EPOCH_SAMPLES, 1 / SFREQ_HZ)
    centre, width = (low_hz + high_hz) / 2, (high_hz - low_hz) / 2
    return _shaped(rng, n, np.exp(-0.5 * (np.abs(hz - centre) / (0.7 * width)) ** 4))


def _shaped(rng: np.random.Generator, n: int, gain: np.ndarray) -> np.ndarray:
    spectrum = gain * (rng.normal(size=(n, len(gain))) + 1j * rng.normal(size=(n, len(gain))))
    spectrum[:, 0] = 0
    noise = np.fft.irfft(spectrum, EPOCH_SAMPLES, axis=1)
    return noise / np.sqrt((noise**2).mean(axis=1, keepdims=True))


def _per_sample(micro: np.ndarray) -> np.ndarray:
    """Interpolates microstate values [n, m] to samples [n, 3000]."""
    at = (np.arange(EPOCH_SAMPLES) / SFREQ_HZ - MICRO_S / 2) / MICRO_S
    left = np.clip(np.floor(at).astype(int), 0, MICRO_PER_EPOCH - 2)
    share = np.clip(at - left, 0, 1)
    return micro[:, left] * (1 - share) + micro[:, left + 1] * share


def _by_state(
    state: np.ndarray, *, w: float, n1: float, n2: float, n3: float, rem: float
) -> np.ndarray:
    return _per_sample(np.array([w, n1, n2, n3, rem])[state])


def _waxing(rng: np.random.Generator, rhythm: np.ndarray) -> np.ndarray:
    """Lets a rhythm come and go over a few seconds."""
    return rhythm * (1 + 0.5 * np.clip(band(rng, len(rhythm), 0.05, 0.5), -1.5, 1.5))


def _slow_waves(rng: np.random.Generator, depth: np.ndarray) -> np.ndarray:
    """Bursts of delta, 100 µV from peak to peak, whose share of the time grows with depth.

    The share is 20 %, the border of N3, at the depth that ends N2.
    """
    wave = band(rng, len(depth), 0.5, 1.8)
    share = np.clip(0.2 + 1.8 * (_per_sample(depth) - 0.6), 1e-3, 0.9)
    burst = band(rng, len(depth), 0.05, 0.4)
    open_above = -np.log(share / (1 - share)) / 1.702  # the normal quantile, nearly
    gate = 1 / (1 + np.exp(-6 * (burst - open_above)))
    return (3 + 27 * gate) * wave


def render_eyes(rng: np.random.Generator, state: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Movements of the eyes and blinks alone, as the EEG has them: float32 [n, 3000] in µV."""
    eyes = np.zeros((len(state), EPOCH_SAMPLES))
    _add_events(rng, eyes, state, depth, draw_brain(rng), EYES)
    return eyes.astype(np.float32)


def _waves(brain: Brain) -> tuple[Event, ...]:
    """The waves of the brain, each with its rate per minute in each stage."""
    return (
        (_spindle, {N2: 4.0 * brain.spindle, N3: 1.2 * brain.spindle}),
        (_k_complex, {N2: 1.4, N3: 0.8}),
        (_vertex_wave, {N1: 3.0, N2: 0.4}),
        (_sawtooth, {REM: 2.0}),
    )


def _add_events(
    rng: np.random.Generator,
    eeg: np.ndarray,
    state: np.ndarray,
    depth: np.ndarray,
    brain: Brain,
    events: tuple[Event, ...],
) -> None:
    """Adds single waves, each at its rate per minute in each stage."""
    for draw, per_minute in events:
        rate = np.zeros(5)
        rate[list(per_minute)] = list(per_minute.values())
        count = rng.poisson(rate[state] * MICRO_S / 60)
        if draw in (_spindle, _k_complex):  # few at the beginning of N2
            count = rng.binomial(count, np.clip((depth - 0.12) / 0.2, 0, 1))
        for epoch, micro in np.argwhere(count):
            for _ in range(count[epoch, micro]):
                wave = draw(rng, brain)
                start = int((micro + rng.random()) * MICRO_S * SFREQ_HZ)
                stop = min(start + len(wave), EPOCH_SAMPLES)
                eeg[epoch, start:stop] += wave[: stop - start]


def _seconds(length_s: float) -> np.ndarray:
    return np.arange(int(length_s * SFREQ_HZ)) / SFREQ_HZ


def _spindle(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    length_s = rng.uniform(0.5, 1.6)
    t = _seconds(length_s)
    hz = np.clip(brain.spindle_hz + rng.normal(0, 0.4), 11, 16)
    return (
        rng.uniform(12, 26)
        * np.sin(np.pi * t / length_s)
        * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6.28))
    )


def _k_complex(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    t = _seconds(rng.uniform(0.9, 1.4))
    sharp = np.exp(-0.5 * ((t - 0.25) / 0.09) ** 2)
    slow = np.exp(-0.5 * ((t - 0.65) / 0.18) ** 2)
    return brain.slow_wave * rng.uniform(55, 95) * (0.75 * slow - sharp)


def _vertex_wave(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    t = _seconds(0.5)
    return -rng.uniform(30, 60) * np.exp(-0.5 * ((t - 0.2) / 0.05) ** 2)


def _sawtooth(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    length_s = rng.uniform(2, 5)
    t = _seconds(length_s)
    saw = 2 * ((rng.uniform(2, 4) * t) % 1) - 1
    return rng.uniform(8, 16) * np.sin(np.pi * t / length_s) * saw


def _eye_movement(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    t = _seconds(rng.uniform(0.6, 1.2))
    return rng.choice([-1, 1]) * rng.uniform(10, 30) * np.tanh(t / 0.06) * np.exp(-t / 0.4)


def _slow_eye_movement(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    length_s = rng.uniform(2, 4)
    t = _seconds(length_s)
    return rng.uniform(12, 25) * np.sin(2 * np.pi * t / length_s)


def _blink(rng: np.random.Generator, brain: Brain) -> np.ndarray:
    t = _seconds(0.5)
    return rng.uniform(20, 60) * np.exp(-0.5 * ((t - 0.2) / 0.07) ** 2)


EYES: tuple[Event, ...] = (
    (_eye_movement, {REM: 5.0, W: 3.0}),
    (_blink, {W: 8.0}),
    (_slow_eye_movement, {N1: 4.0, W: 0.8}),
)
"""What the eyes do, with the rate per minute in each stage."""


def _add_arousals(
    rng: np.random.Generator, eeg: np.ndarray, arousal: np.ndarray, brain: Brain
) -> None:
    """Adds alpha and muscle for 3 to 12 s, and a movement artefact where the arousal is strong."""
    for epoch, micro in np.argwhere(arousal > 0):
        strength = arousal[epoch, micro]
        t = _seconds(3 + 9 * float(strength))
        start = int((micro + 0.5 * rng.random()) * MICRO_S * SFREQ_HZ)
        stop = min(start + len(t), EPOCH_SAMPLES)
        fade = np.sin(np.pi * t / t[-1])
        burst = fade * brain.alpha * 9 * np.sin(2 * np.pi * brain.alpha_hz * t)
        burst += fade * brain.muscle * 12 * strength * rng.normal(size=len(t))
        if strength > 0.5:
            burst += fade * 80 * strength * np.sin(2 * np.pi * rng.uniform(0.3, 0.9) * t)
        eeg[epoch, start:stop] += burst[: stop - start]
