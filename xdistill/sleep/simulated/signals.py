"""Electrodes and belt of a simulated night, which move and breathe as the film does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xdistill.data.simulation.eeg import SFREQ_HZ, draw_brain, render_eeg, render_eyes
from xdistill.data.simulation.hypnogram import MICRO_S, Night
from xdistill.data.sleep_stages import EPOCH_S
from xdistill.extras import import_extra
from xdistill.sleep.simulated.options import NightOptions
from xdistill.sleep.simulated.scene import Scene

BELT_HZ = 25
MOVEMENT_HZ = 10
"""How finely muscles and artefacts follow the movements."""
FADE_SAMPLES = SFREQ_HZ // 2
"""In which an epoch's waves turn into the next one's."""
TONE_UV = np.array([14.0, 8.0, 5.5, 5.0, 2.2])
"""Muscle tone of the chin in each stage."""


class Trace(NamedTuple):
    """One signal: its label in the file, its rate, and what it measures, [n] in µV."""

    label: str
    rate_hz: int
    values: np.ndarray


def record(rng: np.random.Generator, scene: Scene, options: NightOptions) -> list[Trace]:
    """The signals of the EEG's recorder in the order of the file.

    Three EEG derivations of one brain, two of the eyes, the chin's muscle, and the belt.
    """
    rate = options.eeg_hz
    first = round(-scene.first_s / EPOCH_S)
    night = Night(*(course[first : first + options.epochs] for course in scene.night))
    eeg = _joined(render_eeg(rng, night.state, night.depth, night.arousal))
    eyes = _joined(render_eyes(rng, night.state, night.depth))
    fine = (np.arange(options.seconds * MOVEMENT_HZ) + 0.5) / MOVEMENT_HZ
    moving = scene.movement(fine)
    moved = moving.repeat(SFREQ_HZ // MOVEMENT_HZ)
    artefact = moved * (60 * _noise(rng, SFREQ_HZ, len(eeg), 0.4, 2) + _muscle(rng, len(eeg)))
    gains = {"EEG C4-M1": 1.0, "EEG F4-M1": 1.1, "EEG O2-M1": 0.8}
    traces = []
    for label, gain in gains.items():
        own = 3 * _noise(rng, SFREQ_HZ, len(eeg), 0.5, 40)
        traces.append(Trace(label, rate, _resampled(gain * (eeg + artefact) + own, rate)))
    if options.flat_s is not None:
        start, stop = (round(edge * rate) for edge in options.flat_s)
        traces[0].values[start:stop] = 0
    for label, sign in (("EOG E1-M2", 1.0), ("EOG E2-M2", -1.0)):
        own = 4 * _noise(rng, SFREQ_HZ, len(eeg), 0.5, 40)
        seen = 5 * sign * eyes + 0.35 * eeg + 0.8 * artefact + own
        traces.append(Trace(label, rate, _resampled(seen, rate)))
    tone = draw_brain(rng).muscle * TONE_UV[night.state.reshape(-1)]
    effort = tone.repeat(MICRO_S * MOVEMENT_HZ) + 60 * moving
    envelope = np.interp(np.arange(options.seconds * rate) / rate, fine, effort)
    chin = envelope * _noise(rng, rate, len(envelope), 10, min(100, 0.45 * rate))
    traces.append(Trace("EMG chin", rate, chin.astype(np.float32)))
    if options.belt:
        traces.append(Trace("Resp thorax", BELT_HZ, _belt(rng, scene, options)))
    return traces


def _joined(epochs: np.ndarray) -> np.ndarray:
    """Puts epochs [n, 3000] in a row without steps between them: [n * 3000].

    The waves of an epoch have its length as their period: they go on with its beginning.
    """
    fade = np.sin(np.linspace(0, np.pi / 2, FADE_SAMPLES, dtype=np.float32))
    joined = epochs.copy()
    joined[1:, :FADE_SAMPLES] *= fade
    joined[1:, :FADE_SAMPLES] += fade[::-1] * epochs[:-1, :FADE_SAMPLES]
    return joined.reshape(-1)


def _belt(rng: np.random.Generator, scene: Scene, options: NightOptions) -> np.ndarray:
    """Stretch of a belt around the chest: breaths, and artefacts where the sleeper moves."""
    t = np.arange(options.seconds * BELT_HZ) / BELT_HZ
    chest, abdomen = scene.lifts(t)
    breath = (chest + 0.3 * abdomen) / scene.body.rise
    artefact = scene.movement(t) * _noise(rng, BELT_HZ, len(t), 0.2, 2)
    return (200 * (breath - 0.4 + artefact) + 4 * rng.standard_normal(len(t))).astype(np.float32)


def _muscle(rng: np.random.Generator, n: int) -> np.ndarray:
    return 25 * _noise(rng, SFREQ_HZ, n, 20, 45)


def _noise(
    rng: np.random.Generator, rate_hz: float, n: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """Noise between two frequencies of standard deviation 1: float32 [n]."""
    signal = import_extra("scipy.signal", "sleep", "a simulated recording")
    sos = signal.butter(2, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")
    noise = signal.sosfilt(sos.astype(np.float32), rng.standard_normal(n, np.float32))
    return (noise / max(float(noise.std()), 1e-6)).astype(np.float32)


def _resampled(wave: np.ndarray, rate_hz: int) -> np.ndarray:
    """From the simulation's 100 Hz to another rate, float32."""
    signal = import_extra("scipy.signal", "sleep", "a simulated recording")
    return signal.resample_poly(wave.astype(np.float32), rate_hz, SFREQ_HZ)
