"""Marks of light and camera, from frames as a camera gives them."""

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("cv2")

from tests.sleep.films.beds import Bed, Event, pictures, regular
from xdistill.sleep.films.epochs import VideoEpoch, camera_epochs
from xdistill.sleep.films.picture import picture_of_array
from xdistill.sleep.films.scene import camera_moved
from xdistill.sleep.marks import Mark
from xdistill.sleep.video_options import VideoOptions

RATE_HZ = 5
OPTIONS = VideoOptions(frames=4, size=16, body_rate_hz=RATE_HZ)


def epochs_of(
    event: Event = lambda _, picture: picture,
    *,
    seconds: int = 91,
    turns_s: tuple[float, ...] = (),
    dye: Callable[[float, np.ndarray], np.ndarray] = lambda _, picture: picture,
) -> list[VideoEpoch]:
    times = np.arange(RATE_HZ * seconds) / RATE_HZ
    bed = Bed(regular(15, seconds), event=event, turns_s=turns_s, size=(160, 120))
    frames = ((at, dye(at, one)) for at, one in zip(times, pictures(bed, times), strict=True))
    return list(camera_epochs(frames, OPTIONS))


def having(mark: Mark, epochs: list[VideoEpoch]) -> list[int]:
    return [epoch.number for epoch in epochs if mark in epoch.marks]


def test_a_quiet_night_has_no_marks():
    assert [epoch.marks for epoch in epochs_of()] == [frozenset()] * 3


def test_black_and_saturated_stretches_are_marked_where_they_are():
    dark = epochs_of(lambda at, one: 0.02 * one if 35 < at < 50 else one)
    assert having(Mark.DARK, dark) == [1] and not having(Mark.BRIGHT, dark)
    bright = epochs_of(lambda at, one: 255 + 0 * one if 65 < at < 80 else one)
    assert having(Mark.BRIGHT, bright) == [2] and not having(Mark.DARK, bright)


def test_daylight_brings_colours_and_one_tint_does_not():
    def daylight(at: float, grey: np.ndarray) -> np.ndarray:
        if at < 62:
            return grey
        colours = np.stack([grey, grey, grey], axis=2)
        colours[:, : grey.shape[1] // 2, 2] //= 2
        return colours

    assert having(Mark.COLOUR, epochs_of(dye=daylight)) == [2]

    def tinted(_: float, grey: np.ndarray) -> np.ndarray:
        small = np.clip(grey.astype(int), 20, 235)
        return np.stack([small + 10, small, small + 10], axis=2).astype(np.uint8)

    assert not having(Mark.COLOUR, epochs_of(dye=tinted, seconds=31))


def test_a_step_of_light_is_marked_and_is_no_movement():
    quiet = epochs_of()
    stepped = epochs_of(lambda at, one: 1.3 * one if 40 < at < 75 else one)
    assert having(Mark.LIGHT_STEP, stepped) == [1, 2]
    turned = epochs_of(turns_s=(40.0,))
    assert not having(Mark.LIGHT_STEP, turned)
    for epoch in (1, 2):
        still, light = (each[epoch].features.activity for each in (quiet, stepped))
        assert abs(light - still) < 0.15 * turned[1].features.activity
        assert stepped[epoch].features.position_changes == 0
        assert stepped[epoch].features.breathing_rate == pytest.approx(15, abs=0.5)


def test_a_gain_that_wanders_is_neither_step_nor_movement():
    def amplified(at: float, grey: np.ndarray) -> np.ndarray:  # a gain amplifies the noise, too
        return np.clip(grey * (0.9 + 0.1 * np.sin(2 * np.pi * at / 40)), 0, 255).astype(np.uint8)

    quiet = epochs_of()
    wandering = epochs_of(dye=amplified)
    turned = epochs_of(turns_s=(40.0,))[1].features.activity
    for one, other in zip(quiet, wandering, strict=True):
        assert not other.marks
        assert abs(other.features.activity - one.features.activity) < 0.15 * turned
        assert other.features.breathing_rate == pytest.approx(15, abs=0.7)


@pytest.mark.parametrize("shift", [(4, 3), (-3, 5), (40, 30)])
def test_a_camera_that_was_pushed_is_marked_once(shift):
    moved = epochs_of(lambda at, one: np.roll(one, shift, (0, 1)) if at > 40 else one)
    assert having(Mark.CAMERA_MOVED, moved) == [1]
    assert [epoch.features.position_changes for epoch in moved] == [0, 0, 0]


def test_a_camera_that_was_turned_is_marked():
    import cv2

    turn = cv2.getRotationMatrix2D((80, 60), 8, 1.0)

    def turned(at: float, one: np.ndarray) -> np.ndarray:
        if at < 40:
            return one
        return cv2.warpAffine(one.astype(np.float32), turn, (160, 120), borderMode=cv2.BORDER_WRAP)

    assert having(Mark.CAMERA_MOVED, epochs_of(turned)) == [1]


def test_a_body_that_turns_is_no_moved_camera():
    assert not having(Mark.CAMERA_MOVED, epochs_of(turns_s=(10.0, 40.0, 70.0)))


def test_a_picture_with_nothing_to_see_tells_nothing_of_the_camera():
    flat = np.full((96, 96), 90, np.float32)
    assert not camera_moved(flat, flat + 30)


def test_an_array_that_is_no_picture_is_refused():
    for wrong in (np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((4, 4), np.int16)):
        with pytest.raises(ValueError, match="a frame is uint8"):
            picture_of_array(wrong)
