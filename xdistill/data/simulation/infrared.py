"""Infrared video of a simulated sleeper, seen from above the bed: 30 frames of 48 x 48 at 1 fps.

The body is a relief of rounded bumps under a blanket, lit by one infrared lamp; breathing raises
the chest and the abdomen by a few millimetres, movements displace the limbs. Stage is carried only
by what a camera can see:

- Breathing: regular and slower with depth, most regular in N3, irregular in REM and while awake
  (Douglas et al., Thorax 37 (1982) 840; Rostig et al., Sleep 28 (2005) 411). The rib cage takes a
  smaller part in REM (Tabachnik et al., Am Rev Respir Dis 124 (1981) 29).
- Movements: fewer from W over N1, REM and N2 to N3 (Wilde-Frenz & Schulz, Percept Mot Skills 56
  (1983) 275); turns at arousals; short twitches and rapid eye movements in REM; open eyes in W.

Everything else is a nuisance variable that says nothing about the stage: pose, blanket, camera,
lamp, noise, and each sleeper's own rate, amplitude and restlessness.
"""

from typing import NamedTuple

import numpy as np

from xdistill.data.simulation.hypnogram import MICRO_S
from xdistill.data.sleep_stages import EPOCH_S, N1, N2, N3, REM, W

FPS_HZ = 1
FRAMES = EPOCH_S * FPS_HZ
SIZE_PX = 48
PARTS = 5  # head, left arm, right arm, left leg, right leg


class Body(NamedTuple):
    """One sleeper in one bedroom; lengths in units of half the picture's width."""

    rate_per_min: float
    irregular: float  # factor on the variability of breathing
    rise: float  # how far the chest lifts
    restless: float  # factor on the rate of movements
    scale: float
    blanket_level: float  # 0 covers all but the head, 1 only the legs
    blanket_waves: np.ndarray  # [3, 4] frequency x, y, phase, contrast
    albedo: tuple[float, float, float, float]  # mattress, skin, hair, blanket
    lamp: tuple[float, float, float, float]  # gain, gradient x, gradient y, direction
    noise: float  # of the sensor, in grey levels of 255


class Pose(NamedTuple):
    """The sleeper's position until the next turn: a vector, so that two poses can be blended."""

    side: float  # -1 left side, 0 supine, 1 right side
    angle: float
    centre: tuple[float, float]
    limbs: np.ndarray  # [PARTS, 2] where the parts are, about the body's axis
    level: float  # how far the blanket has slipped


def draw_body(rng: np.random.Generator) -> Body:
    """Draws one adult sleeper and the bedroom's camera."""
    waves = np.stack(
        [rng.normal(0, 6, 3), rng.normal(0, 6, 3), rng.uniform(0, 6.28, 3), rng.uniform(0, 0.1, 3)],
        axis=1,
    )
    return Body(
        rate_per_min=float(np.clip(rng.normal(14.5, 1.8), 10.5, 19)),
        irregular=float(rng.lognormal(0, 0.25)),
        rise=float(0.065 * rng.lognormal(0, 0.25)),
        restless=float(rng.lognormal(0, 0.35)),
        scale=float(rng.uniform(1.0, 1.3)),
        blanket_level=float(rng.uniform(-0.15, 0.35)),
        blanket_waves=waves,
        albedo=tuple(rng.uniform([0.25, 0.65, 0.15, 0.35], [0.45, 0.85, 0.4, 0.7]).tolist()),
        lamp=tuple(rng.uniform([0.75, -0.25, -0.25, 0.0], [1.15, 0.25, 0.25, 6.28]).tolist()),
        noise=float(rng.uniform(1.0, 2.5)),
    )


def draw_pose(rng: np.random.Generator, body: Body) -> Pose:
    """Draws the pose after a turn; adults lie on a side most often."""
    side = float(rng.choice([-1, 0, 1], p=[0.33, 0.34, 0.33]))
    rest = np.array([[0, -0.62], [-0.32, -0.1], [0.32, -0.1], [-0.14, 0.55], [0.14, 0.55]])
    limbs = rest + rng.normal(0, 0.05, rest.shape)
    limbs[:, 0] += 0.12 * side * np.array([1, 1, 1, 1.2, 1.2])
    return Pose(
        side=side,
        angle=float(rng.normal(0, 0.18)),
        centre=(float(rng.normal(0, 0.08)), float(rng.normal(0, 0.06))),
        limbs=limbs,
        level=body.blanket_level + float(rng.normal(0, 0.1)),
    )


def film_night(
    rng: np.random.Generator,
    state: np.ndarray,
    depth: np.ndarray,
    arousal: np.ndarray,
    keep: np.ndarray,
) -> np.ndarray:
    """Films the epochs ``keep`` [n] of a night whose microstates are [e, m]: uint8 [n, 30, 48, 48].

    The whole night is needed because the sleeper also turns between the clips.
    """
    body = draw_body(rng)
    turns, poses = draw_poses(rng, body, state, arousal)
    before = np.cumsum(turns) - turns  # the pose in which an epoch begins
    clips = np.empty((len(keep), FRAMES, SIZE_PX, SIZE_PX), np.uint8)
    for at, epoch in enumerate(keep):
        pose = poses[before[epoch]]
        after = poses[before[epoch] + turns[epoch]]
        clips[at] = film_clip(rng, body, pose, after, state[epoch], depth[epoch], arousal[epoch])
    return clips


def draw_poses(
    rng: np.random.Generator, body: Body, state: np.ndarray, arousal: np.ndarray
) -> tuple[np.ndarray, list[Pose]]:
    """In which epochs of [e, m] microstates the sleeper turns, bool [e], and the poses between."""
    turns = (arousal > 0.75).any(axis=1) | ((state == W).any(1) & (rng.random(len(state)) < 0.12))
    return turns, [draw_pose(rng, body) for _ in range(turns.sum() + 1)]


def film_clip(
    rng: np.random.Generator,
    body: Body,
    pose: Pose,
    after: Pose,
    state: np.ndarray,
    depth: np.ndarray,
    arousal: np.ndarray,
) -> np.ndarray:
    """Films one epoch from its microstates [m]; ``after`` is another pose if the sleeper turns."""
    chest, abdomen = breathe(rng, body, state, depth)
    shift, eyes = move(rng, body, state, arousal)
    turning = np.zeros(FRAMES)
    if after is not pose:
        start = rng.uniform(2, 24)
        turning = np.clip((np.arange(FRAMES) - start) / rng.uniform(2, 5), 0, 1)
        shift += rng.normal(0, 0.05, shift.shape) * np.sin(np.pi * turning)[:, None, None]
    grey = render(body, pose, after, turning, chest, abdomen, shift, eyes)
    grey += body.noise * rng.standard_normal(grey.shape, np.float32)
    return np.clip(grey, 0, 255).astype(np.uint8)


def breathe(
    rng: np.random.Generator, body: Body, state: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far chest and abdomen are lifted in each frame, from the microstates [m]: two [30]."""
    return lift_of(draw_breaths(rng, body, state, depth), body, np.arange(FRAMES) / FPS_HZ)


class Breaths(NamedTuple):
    """Breaths in a row: when each begins, in seconds, its height, and the rib cage's share of it.

    All are [b]; the last breath is there for its beginning alone, which ends the one before.
    """

    starts_s: np.ndarray
    heights: np.ndarray
    rib_share: np.ndarray


def draw_breaths(
    rng: np.random.Generator,
    body: Body,
    state: np.ndarray,
    depth: np.ndarray,
    first_s: float | None = None,
    until_s: float = EPOCH_S + 20,
) -> Breaths:
    """Draws breaths from the microstates [m] of an epoch, the last of which goes on after it.

    Breath by breath: each has its own length and height, correlated with the one before.

    Args:
        rng: the source.
        body: whose they are.
        state: of each microstate.
        depth: of each microstate.
        first_s: when the first begins, since the epoch; None for one that has begun before it.
        until_s: all that begin earlier are drawn.
    """
    rate = np.array([1.10, 1.02, 0.99, 0.95, 1.05])
    irregular = np.array([0.26, 0.17, 0.0, 0.0, 0.24])
    height = np.array([1.0, 0.85, 0.95, 1.05, 0.75])
    ribs = np.array([0.55, 0.5, 0.5, 0.5, 0.25])
    nrem = (state == N2) | (state == N3)
    spread = np.where(nrem, np.clip(0.16 - 0.18 * depth, 0.02, None), irregular[state])
    spread = spread * body.irregular * rng.lognormal(0, 0.3)  # this half minute, too, has its own
    personal_s = 60 / (body.rate_per_min * rng.normal(1, 0.03))

    starts, heights, rib_share = [], [], []
    start_s = -rng.uniform(0, personal_s) if first_s is None else first_s
    last = rng.normal()
    while start_s < until_s:
        now = int(np.clip(start_s // MICRO_S, 0, len(state) - 1))
        last = 0.4 * last + 0.92 * rng.normal()
        starts.append(start_s)
        heights.append(height[state[now]] * max(0.1, 1 + 1.3 * spread[now] * rng.normal()))
        rib_share.append(ribs[state[now]])
        start_s += personal_s / rate[state[now]] * float(np.clip(1 + spread[now] * last, 0.45, 2.2))

    return Breaths(np.array(starts), np.array(heights), np.array(rib_share))


def lift_of(breaths: Breaths, body: Body, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far chest and abdomen are lifted at the times ``t`` [n] in seconds: two [n]."""
    phase = np.interp(t, breaths.starts_s, np.arange(len(breaths.starts_s)))
    height = body.rise * breaths.heights[phase.astype(int)]
    lift = height * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
    share = np.interp(t, breaths.starts_s, breaths.rib_share)
    return lift * share, lift * (1 - share)


def move(
    rng: np.random.Generator, body: Body, state: np.ndarray, arousal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Displacement of the parts, [30, PARTS, 2], and openness of the eyes, [30], 0 to 1."""
    shift = np.zeros((FRAMES, PARTS, 2))
    t = np.arange(FRAMES) / FPS_HZ
    frame_state = state[(t // MICRO_S).astype(int)]
    per_minute = {  # small limb movement, large movement, twitch
        W: (2.5, 1.5, 0.3),
        N1: (1.0, 0.25, 0.6),
        N2: (0.35, 0.04, 0.15),
        N3: (0.12, 0.01, 0.05),
        REM: (0.4, 0.04, 2.2),
    }
    rates = np.array([per_minute[stage] for stage in range(5)])[frame_state] * body.restless / 60
    rates[:, 2] *= rng.lognormal(-0.3, 0.8)  # REM sleep is phasic in one epoch, tonic in the next
    small, large, twitch = (rng.poisson(rates) > 0).T
    for frame in np.flatnonzero(small).tolist():
        _displace(
            rng, shift, frame, int(rng.integers(PARTS)), 0.06, rng.uniform(1, 3), rng.random()
        )
    for frame in np.flatnonzero(twitch).tolist():
        _displace(rng, shift, frame, int(rng.integers(PARTS)), 0.05, 0.5, 0.0)
    for frame in np.flatnonzero(large).tolist():
        for part in range(PARTS):
            _displace(rng, shift, frame, part, 0.10, rng.uniform(2, 6), rng.random())
    for micro in np.flatnonzero(arousal > 0.25):
        frame = min(int(micro * MICRO_S + rng.integers(MICRO_S)), FRAMES - 1)
        size = 0.10 * float(arousal[micro])
        for part in range(PARTS):
            _displace(rng, shift, frame, part, size, rng.uniform(2, 6), rng.random())

    eyes = np.where(frame_state == W, float(rng.random() < 0.5), 0.0)
    eyes = eyes * (rng.random(FRAMES) > 0.15)  # blinks
    rapid = (frame_state == REM) & (rng.random(FRAMES) < 0.25)
    return shift, np.where(rapid, 0.35, eyes)


def _displace(
    rng: np.random.Generator,
    shift: np.ndarray,
    frame: int,
    part: int,
    size: float,
    length_s: float,
    stays: float,
) -> None:
    """Moves a part within ``length_s``, shaking, and leaves the share ``stays`` of it displaced."""
    since = np.arange(FRAMES) - frame
    during = (since >= 0) & (since < max(length_s, 1))
    goal = rng.normal(0, size, 2)
    shift[during, part] += goal + rng.normal(0, 0.5 * size, (during.sum(), 2))
    shift[since >= max(length_s, 1), part] += stays * goal


def render(
    body: Body,
    pose: Pose,
    after: Pose,
    turning: np.ndarray,
    chest: np.ndarray,
    abdomen: np.ndarray,
    shift: np.ndarray,
    eyes: np.ndarray,
    shape: tuple[int, int] = (SIZE_PX, SIZE_PX),
) -> np.ndarray:
    """Draws frames, float32 [T, height, width] in grey levels, from the courses of all that moves.

    The bed fills the shorter side of ``shape``, and along the longer one there is more mattress.
    """

    def course(of) -> np.ndarray:  # [T, 1, 1], blended while the sleeper turns
        moving = of(pose) + turning * (of(after) - of(pose))
        return moving.astype(np.float32)[:, None, None]

    short = min(shape)
    down, right = (
        np.linspace(-n / short, n / short, n, dtype=np.float32) / body.scale for n in shape
    )
    angle = course(lambda p: p.angle)
    across0 = right[None, None, :] - course(lambda p: p.centre[0])
    along0 = down[None, :, None] - course(lambda p: p.centre[1])
    across = np.cos(angle) * across0 + np.sin(angle) * along0  # [T, H, W]
    along = np.cos(angle) * along0 - np.sin(angle) * across0

    def bump(x, y, width, length) -> np.ndarray:  # 1 at its centre, 0 outside
        dx, dy = (across - x) * (1 / width), (along - y) * (1 / length)
        return np.maximum(1 - dx * dx - dy * dy, 0)

    def place(part: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = (
            course(lambda p, j=j: p.limbs[part, j]) + _column(shift[:, part, j]) for j in (0, 1)
        )
        return x, y

    parts = [place(part) for part in range(PARTS)]
    side = course(lambda p: p.side)
    lying = 1 - 0.25 * np.abs(side)
    head = bump(*parts[0], 0.17, 0.2)
    torso = bump(0.05 * side, 0.0, 0.30 * lying, 0.48)
    height = 0.30 * np.sqrt(torso) + 0.22 * np.sqrt(head)
    for arm in parts[1:3]:
        height += 0.12 * np.sqrt(bump(*arm, 0.1, 0.34))
    for leg in parts[3:5]:
        height += 0.15 * np.sqrt(bump(*leg, 0.13, 0.42))
    height += _column(chest) * 2.2 * bump(0.05 * side, -0.2, 0.34, 0.26)
    height += _column(abdomen) * 2.2 * bump(0.05 * side, 0.12, 0.34, 0.26)

    mattress, skin, hair, blanket = body.albedo
    face = bump(parts[0][0] + 0.07 * side, parts[0][1] + 0.04, 0.13, 0.15) > 0
    albedo = mattress + (skin * 0.8 - mattress) * np.clip(4 * torso, 0, 1)
    albedo += (hair - albedo) * np.clip(6 * head, 0, 1)
    albedo += (skin - albedo) * (face & (head > 0))
    eye = bump(parts[0][0] + 0.09 * side, parts[0][1] + 0.03, 0.08, 0.05)
    albedo += 0.9 * _column(eyes) * (1 - 0.5 * np.abs(side)) * eye
    covered = np.clip(12 * (along - course(lambda p: p.level) + 0.35), 0, 1)
    covered *= np.clip(12 * (0.75 - np.abs(across)), 0, 1)
    texture = np.full_like(across, blanket)
    for fx, fy, at, contrast in body.blanket_waves.astype(np.float32):  # carried by the relief
        texture += contrast * np.sin(fx * (across + height) + fy * (along + height) + at)
    albedo += (texture - albedo) * covered

    gain, tilt_x, tilt_y, direction = body.lamp
    per_px = short / SIZE_PX
    slope_x = np.gradient(height, axis=2) * np.float32(per_px * np.cos(direction))
    slope_y = np.gradient(height, axis=1) * np.float32(per_px * np.sin(direction))
    shade = np.clip(0.75 - 4.0 * (slope_x + slope_y), 0.15, 1.4)
    light = gain * (1 + tilt_x * right[None, None, :] + tilt_y * down[None, :, None])
    return (320 * light * albedo * shade).astype(np.float32)


def _column(values: np.ndarray) -> np.ndarray:  # [T] -> [T, 1, 1]
    return values.astype(np.float32)[:, None, None]
