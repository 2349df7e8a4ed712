"""All that moves in a simulated night, at any time of it: what camera, belt and electrodes see.

The sample's sleepers are simulated epoch by epoch. Here their breaths follow one another without a
break, and limbs stay where a movement has left them until they slide back or the sleeper turns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xdistill.data.simulation.hypnogram import Night, simulate_night
from xdistill.data.simulation.infrared import (
    FRAMES,
    PARTS,
    Body,
    Breaths,
    Pose,
    draw_body,
    draw_breaths,
    draw_poses,
    lift_of,
    move,
    render,
)
from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.simulated.options import NIGHT_EPOCHS, NightOptions

SLIDE_BACK_S = 120.0
"""Time constant with which displaced limbs come back to the pose."""


class Turns(NamedTuple):
    """Turns of the sleeper: times on the night's clock and lengths, in seconds, both [k]."""

    start_s: np.ndarray
    length_s: np.ndarray


class Scene(NamedTuple):
    """One sleeper in one bedroom through one night. Times are those of the EEG's clock.

    Attributes:
        first_s: when epoch 0 of the scene begins, in seconds since the EEG's first sample; negative
            where the film begins earlier.
        night: epochs of the scene.
        body: the sleeper and the camera.
        breaths: all of them.
        poses: before the first turn, and after each.
        turns: of which each leads to the next pose.
        shift: [s, PARTS, 2] displacement of the parts at each full second since ``first_s``.
        eyes: [s] their openness.
    """

    first_s: float
    night: Night
    body: Body
    breaths: Breaths
    poses: list[Pose]
    turns: Turns
    shift: np.ndarray
    eyes: np.ndarray

    def lifts(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far chest and abdomen are lifted at the times ``t`` [n]: two [n]."""
        return lift_of(self.breaths, self.body, t)

    def movement(self, t: np.ndarray) -> np.ndarray:
        """How fast the parts move and the body turns at the times ``t`` [n]: [n], 0 at rest."""
        speed = np.abs(np.diff(self.shift, axis=0)).sum(axis=(1, 2))
        at = np.clip((t - self.first_s).astype(int), 0, len(speed) - 1)
        turn = np.clip(np.searchsorted(self.turns.start_s, t, side="right") - 1, 0, None)
        if not len(self.turns.start_s):
            return speed[at]
        since = t - self.turns.start_s[turn]
        turning = (since >= 0) & (since < self.turns.length_s[turn])
        return speed[at] + turning / self.turns.length_s[turn]

    def frames(self, t: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """What the camera sees without noise, float32 [n, height, width] in grey levels.

        The times ``t`` [n] ascend, and between two of them the sleeper does not turn twice.
        """
        which = int(np.searchsorted(self.turns.start_s, t[-1], side="right")) - 1
        turning = np.zeros(len(t))
        if which >= 0:
            since = t - self.turns.start_s[which]
            turning = np.clip(since / self.turns.length_s[which], 0, 1)
        at = np.clip(t - self.first_s, 0, len(self.shift) - 1)
        before = at.astype(int)
        after = np.minimum(before + 1, len(self.shift) - 1)
        share = (at - before)[:, None, None]
        shift = (1 - share) * self.shift[before] + share * self.shift[after]
        pose = self.poses[max(which, 0)]
        then = self.poses[which + 1]
        return render(
            self.body, pose, then, turning, *self.lifts(t), shift, self.eyes[before], shape
        )


def draw_scene(
    sleep_rng: np.random.Generator, video_rng: np.random.Generator, options: NightOptions
) -> Scene:
    """Simulates the sleeper through EEG and film, and half a minute before and after."""
    before = 1 + math.ceil(max(-options.film_late_s, 0) / EPOCH_S)
    after_s = options.film_late_s + options.film_length_s - options.seconds
    after = 1 + math.ceil(max(after_s, 0) / EPOCH_S)
    whole = simulate_night(sleep_rng, NIGHT_EPOCHS)
    night = Night(*(course[_epochs(options, before, after)] for course in whole))
    body = draw_body(video_rng)
    turns, poses = draw_poses(video_rng, body, night.state, night.arousal)
    first_s = -float(before * EPOCH_S)
    drawn = _turns(video_rng, turns, first_s)
    shift, eyes = _movements(video_rng, body, night, drawn, first_s)
    breaths = _breaths(video_rng, body, night, first_s)
    return Scene(first_s, night, body, breaths, poses, drawn, shift, eyes)


def _epochs(options: NightOptions, before: int, after: int) -> np.ndarray:
    """Which epochs of the sleeper's night the scene consists of; its ends are repeated."""
    if options.condensed:
        kept = np.linspace(0, NIGHT_EPOCHS, options.epochs, endpoint=False).astype(int)
        return np.pad(kept, (before, after), mode="edge")
    first = round(options.from_hour * 3600 / EPOCH_S)
    return np.clip(np.arange(-before, options.epochs + after) + first, 0, NIGHT_EPOCHS - 1)


def _turns(rng: np.random.Generator, turns: np.ndarray, first_s: float) -> Turns:
    epochs = np.flatnonzero(turns)
    start_s = first_s + EPOCH_S * epochs + rng.uniform(2, 24, len(epochs))
    return Turns(start_s, rng.uniform(2, 5, len(epochs)))


def _movements(
    rng: np.random.Generator, body: Body, night: Night, turns: Turns, first_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Displacement of the parts and openness of the eyes at each second of the scene."""
    moved = [
        move(rng, body, state, arousal)
        for state, arousal in zip(night.state, night.arousal, strict=True)
    ]
    t = first_s + np.arange(len(moved) * FRAMES)
    turning = np.zeros(len(t))
    for start_s, length_s in zip(*turns, strict=True):
        now = np.clip((t - start_s) / length_s, 0, 1)
        turning += now * (now < 1)
    stays = np.exp(-1 / SLIDE_BACK_S) * (1 - turning)
    left = np.zeros((PARTS, 2))
    shift = np.zeros((len(t), PARTS, 2))
    for epoch, (displaced, _) in enumerate(moved):
        for second, own in enumerate(displaced, epoch * FRAMES):
            left = left * stays[second]
            shift[second] = left + own
        left = shift[(epoch + 1) * FRAMES - 1].copy()
    shift += rng.normal(0, 0.05, shift.shape) * np.sin(np.pi * turning)[:, None, None]
    return shift, np.concatenate([eyes for _, eyes in moved])


def _breaths(rng: np.random.Generator, body: Body, night: Night, first_s: float) -> Breaths:
    """The breaths of all epochs in a row."""
    parts: list[Breaths] = []
    next_s: float | None = None
    for epoch, (state, depth) in enumerate(zip(night.state, night.depth, strict=True)):
        drawn = draw_breaths(rng, body, state, depth, next_s, EPOCH_S + 20)
        within = drawn.starts_s < EPOCH_S
        at_s = first_s + epoch * EPOCH_S
        next_s = float(drawn.starts_s[~within][0]) - EPOCH_S
        if epoch == len(night.state) - 1:
            within[:] = True
        parts.append(Breaths(drawn.starts_s[within] + at_s, *(c[within] for c in drawn[1:])))
    return Breaths(*(np.concatenate(course) for course in zip(*parts, strict=True)))
