"""Signals of a simulated night as arrays, without files: fast enough for whole nights."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from xdistill.data.simulation.nights import generators
from xdistill.sleep.recordings.recording import Recording, Signal
from xdistill.sleep.simulated import NightOptions
from xdistill.sleep.simulated.scene import Scene, draw_scene

RATE_HZ = 10
HOURS = 8.0


@lru_cache(maxsize=12)
def scene_of(sleeper: int, hours: float = HOURS) -> Scene:
    options = NightOptions(sleeper=sleeper, hours=hours)
    sleep_rng, _, video_rng = generators(options.seed, sleeper)
    return draw_scene(sleep_rng, video_rng, options)


def recording_of(
    sleeper: int, kinds: tuple[str, ...], hours: float = HOURS, seed: int = 0
) -> Recording:
    """A belt ("resp") and a chin ("emg") that breathe and move as the sleeper does."""
    rng = np.random.default_rng([seed, sleeper])
    scene, length_s = scene_of(sleeper, hours), round(3600 * hours)
    signals = {}
    if "resp" in kinds:
        t = np.arange(length_s * 25) / 25
        chest, abdomen = scene.lifts(t)
        belt = 200 * (chest + 0.3 * abdomen) / scene.body.rise
        belt += 200 * scene.movement(t) * rng.standard_normal(len(t))
        signals["resp"] = Signal("resp", ("Resp thorax",), 25.0, belt[None].astype(np.float32))
    if "emg" in kinds:
        moving = scene.movement((np.arange(length_s * 10) + 0.5) / 10).repeat(10)
        chin = (5 + 60 * moving) * rng.standard_normal(len(moving), np.float32)
        signals["emg"] = Signal("emg", ("EMG chin",), 100.0, chin[None].astype(np.float32))
    return Recording(Path("night.edf"), None, float(length_s), signals)


def body_of(
    sleeper: int,
    *,
    late_s: float = 0.0,
    drift: float = 0.0,
    hours: float = HOURS,
    noise: float = 0.5,
    film_s: float | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Breathing and activity [2, t] as a film of the sleeper has them, by the film's own clock."""
    rng = np.random.default_rng([seed, sleeper, 1])
    scene = scene_of(sleeper, hours)
    length_s = (3600 * hours - late_s if film_s is None else film_s) * (1 + drift)
    own_s = np.arange(int(length_s * RATE_HZ)) / RATE_HZ
    t = late_s + own_s / (1 + drift)
    chest, abdomen = scene.lifts(t)
    breathing = (chest + abdomen) / scene.body.rise + noise * rng.standard_normal(len(t))
    activity = 0.3 * scene.movement(t - 0.05) + np.abs(0.02 + 0.005 * rng.standard_normal(len(t)))
    return np.stack([breathing, activity]).astype(np.float32)
