"""A camera goes on while an epoch is staged: no frame of that time is lost."""

import time

import numpy as np
import pytest

from xdistill.sleep.films import camera
from xdistill.sleep.films.camera import camera_frames

cv2 = pytest.importorskip("cv2")
COUNT = 40


class Device:
    """Gives its pictures as fast as they are taken, then none."""

    def __init__(self, number):
        self.given, self.released = 0, False

    def isOpened(self):
        return True

    def read(self):
        if self.given == COUNT:
            return False, None
        self.given += 1
        return True, np.full((4, 4), self.given - 1, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def device(monkeypatch):
    one = Device(0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: one)
    monkeypatch.setattr(camera, "PATIENCE_S", 0.2)
    return one


def taken_after_a_pause(device):
    """Numbers and times of all frames; after the first nobody takes more until all have come."""
    frames = camera_frames(0)
    found = [next(frames)]
    begun_s = time.monotonic()
    while device.given < COUNT:
        assert time.monotonic() - begun_s < 10, "the camera waits for who takes its frames"
        time.sleep(0.01)
    time.sleep(0.2)
    with pytest.warns(UserWarning, match="the night ends here"):
        found += frames
    return [int(one.picture().luma[0, 0]) for one in found], [one.time_s for one in found]


def test_frames_that_come_while_an_epoch_is_staged_are_kept_with_their_times(device):
    numbers, times_s = taken_after_a_pause(device)
    assert numbers == list(range(COUNT))
    assert times_s[0] == 0 and np.all(np.diff(times_s) > 0)
    assert device.released


def test_frames_for_which_there_is_no_room_are_counted(device, monkeypatch):
    monkeypatch.setattr(camera, "MOST_WAITING", 3 * 16)
    with pytest.warns(UserWarning, match=rf"\d+ of {COUNT} frames of camera 0 were lost"):
        numbers, _ = taken_after_a_pause(device)
    assert numbers[0] == 0 and 3 <= len(numbers) <= 4


def test_an_error_of_the_camera_is_that_of_the_night(device, monkeypatch):
    monkeypatch.setattr(Device, "read", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(camera_frames(0))


def test_the_camera_is_released_when_nobody_takes_more(device):
    frames = camera_frames(0)
    next(frames)
    frames.close()
    assert device.released
