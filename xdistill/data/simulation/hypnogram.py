"""One simulated night of sleep for the S3VE sample: stages, depth and arousals.

The night is a continuous *depth* of NREM sleep, interrupted by wakefulness and by REM sleep, on a
grid of 5 s. N1, N2 and N3 are slices of that depth, so that neighbouring stages are ambiguous for a
physiological reason, and EEG and video share a depth that the label hides.

The process is based on:
- Carskadon & Dement, "Normal human sleep: an overview": NREM and REM alternate in cycles of about
  90 minutes, N3 fills the first third of the night, REM periods grow towards the morning.
- Ohayon et al., Sleep 27 (2004) 1255: the usual shares of the stages and their change with age.
- Borbély, Human Neurobiology 1 (1982) 195: slow-wave intensity decays over the night (process S).
- AASM scoring manual: epochs of 30 s; the stage with the greatest portion of the epoch is scored.
- Rosenberg & Van Hout, J Clin Sleep Med 9 (2013) 81: two scorers agree on about 83 % of epochs.
"""

import math
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, N1, N2, N3, REM, STAGES, W

MICRO_S = 5
MICRO_PER_EPOCH = EPOCH_S // MICRO_S

N1_BELOW = 0.20  # depth below which NREM sleep is N1
N3_ABOVE = 0.60  # depth above which more than 20 % of an epoch is slow waves
REM_SHARE = (0.11, 0.21, 0.28, 0.33, 0.35, 0.35)  # of the cycle, by its number in the night


class Night(NamedTuple):
    """``e`` epochs of 30 s, each of ``m = 6`` microstates of 5 s.

    - stage [e]: the scorer's label, a position in ``STAGES``
    - state [e, m]: the true stage of each microstate, a position in ``STAGES``
    - depth [e, m]: depth of NREM sleep, 0 (dozing) to 1; 0 in wakefulness and in REM
    - arousal [e, m]: 0, or the strength (0 to 1) of an arousal that begins here
    """

    stage: np.ndarray
    state: np.ndarray
    depth: np.ndarray
    arousal: np.ndarray


class Habits(NamedTuple):
    """How one sleeper sleeps; times in minutes, rates per hour."""

    latency_min: float
    cycle_min: float
    wakings_per_h: float
    arousals_per_h: float
    slow_wave: float  # factor on the height of the slow-wave humps
    rem: float  # factor on the length of the REM periods


def draw_habits(rng: np.random.Generator) -> Habits:
    """Draws one adult sleeper."""
    return Habits(
        latency_min=float(np.clip(rng.lognormal(np.log(11), 0.45), 3, 40)),
        cycle_min=float(rng.normal(95, 7)),
        wakings_per_h=float(rng.lognormal(np.log(1.7), 0.30)),
        arousals_per_h=float(rng.lognormal(np.log(10), 0.25)),
        slow_wave=float(rng.normal(1.0, 0.10)),
        rem=float(rng.normal(1.0, 0.08)),
    )


def simulate_night(rng: np.random.Generator, epochs: int = 960) -> Night:
    """Simulates ``epochs`` epochs of 30 s (960 are eight hours) of one sleeper.

    Source: the module's docstring; the rates are ours, chosen to meet the shares given there.
    """
    habits = draw_habits(rng)
    state, depth, arousal = simulate_microstates(rng, habits, epochs * MICRO_PER_EPOCH)
    shape = (epochs, MICRO_PER_EPOCH)
    state, depth, arousal = state.reshape(shape), depth.reshape(shape), arousal.reshape(shape)
    return Night(score(rng, state, depth), state, depth, arousal)


def simulate_microstates(
    rng: np.random.Generator, habits: Habits, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs the night in steps of 5 s: states [steps], depths [steps] and arousals [steps]."""
    dt_min = MICRO_S / 60
    state = np.zeros(steps, np.int8)
    depth = np.zeros(steps, np.float32)
    arousal = np.zeros(steps, np.float32)
    chance = rng.random((steps, 2))
    noise = rng.normal(0, 1, steps)

    cycle, nrem_min, (nrem_len, rem_len) = 0, 0.0, _cycle_lengths(rng, habits, 0)
    rem_left, wake_left, now = 0.0, habits.latency_min, 0.0
    for step in range(steps):
        if wake_left > 0:
            wake_left -= dt_min
            state[step] = W
            now = 0.03
            continue
        in_rem = rem_left > 0
        if in_rem:
            state[step] = REM
            rem_left -= dt_min
            if rem_left <= 0:
                cycle, nrem_min = cycle + 1, 0.0
                nrem_len, rem_len = _cycle_lengths(rng, habits, cycle)
                now = float(rng.uniform(0.1, 0.4))
        else:
            target = _target_depth(cycle, nrem_min / nrem_len)
            pace_min = 2.2 if now < 0.3 else 6.0
            now += (target * habits.slow_wave - now) * dt_min / pace_min
            now = min(max(now + 0.02 * float(noise[step]), 0.02), 1.0)
            state[step], depth[step] = N2, now  # which of N1 to N3 follows below
            nrem_min += dt_min
            if nrem_min >= nrem_len:
                rem_left = rem_len

        light = 1.6 if in_rem else 1.7 - 1.5 * now
        morning = 0.7 + 0.6 * step / steps
        if chance[step, 0] < habits.wakings_per_h * light * morning * dt_min / 60:
            wake_left = _waking_length(rng)
            arousal[step] = rng.uniform(0.6, 1.0)
        elif chance[step, 1] < habits.arousals_per_h * light * dt_min / 60:
            arousal[step] = rng.uniform(0.1, 0.7)
            now = max(0.05, now - 0.45 * float(arousal[step]))
    return np.where(state == N2, stage_of_depth(depth), state), depth, arousal


def stage_of_depth(depth: np.ndarray) -> np.ndarray:
    """N1, N2 or N3, by the depth of NREM sleep; any shape."""
    return np.where(depth < N1_BELOW, N1, np.where(depth < N3_ABOVE, N2, N3)).astype(np.int8)


def score(rng: np.random.Generator, state: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Scores microstates [e, m] as a human with errors does: int64 [e].

    The greatest portion of the epoch wins (AASM). The scorer sees the depth with an error that is
    constant within the epoch, and misjudges portions by about a seventh.
    """
    epochs = len(state)
    seen = depth + rng.normal(0, 0.06, (epochs, 1))
    nrem = (state == N1) | (state == N2) | (state == N3)
    read = np.where(nrem, stage_of_depth(seen), state)
    portion = (read[..., None] == np.arange(len(STAGES))).mean(axis=1)  # [e, 5]
    return (portion + rng.normal(0, 0.15, portion.shape)).argmax(axis=1)


def _cycle_lengths(rng: np.random.Generator, habits: Habits, cycle: int) -> tuple[float, float]:
    """Minutes of NREM and of REM sleep in the cycle of that number."""
    length_min = float(np.clip(rng.normal(habits.cycle_min, 9), 65, 130))
    rem_share = REM_SHARE[min(cycle, len(REM_SHARE) - 1)] * habits.rem
    return length_min * (1 - rem_share), length_min * rem_share


def _target_depth(cycle: int, progress: float) -> float:
    """Where depth is heading, ``progress`` (0 to 1) of the way through a cycle's NREM part."""
    height = (0.56, 0.35, 0.19, 0.08, 0.0)[min(cycle, 4)]
    return 0.42 + height * math.sin(math.pi * min(progress, 1.0) ** 0.8) ** 0.8


def _waking_length(rng: np.random.Generator) -> float:
    """Minutes awake after an awakening: mostly a minute, now and then ten."""
    median = 9.0 if rng.random() < 0.17 else 1.0
    return float(np.clip(rng.lognormal(np.log(median), 0.7), 0.25, 30))
