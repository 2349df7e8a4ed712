"""A camera goes on while an epoch is staged: no frame of that time is lost."""

import time

import numpy as np
import pytest

from xdistill.sleep.films import camera
from xdistill.sleep.films.camera import camera_frames

cv2 = pytest.importorskip("cv2")
STEP_S = 0.02
COUNT = 40


class Clockwork:
    """A device with a picture every 20 ms, which keeps none for those who come late."""

    def __init__(self, number):
        self.begun_s, self.last = time.monotonic(), -1
        self.released = False

    def isOpened(self):
        return True

    def read(self):
        time.sleep(max(0.0, self.begun_s + (self.last + 1) * STEP_S - time.monotonic()))
        self.last = int((time.monotonic() - self.begun_s) / STEP_S)
        if self.last >= COUNT:
            return False, None
        return True, np.full((4, 4), self.last, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def device(monkeypatch):
    made = []
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda number: made.append(Clockwork(number)) or made[0]
    )
    monkeypatch.setattr(camera, "PATIENCE_S", 0.2)
    return made


def taken(pause_s):
    """Number and time of every frame; the taker pauses at the fifth."""
    found = []
    with pytest.warns(UserWarning, match="the night ends here"):
        for frame in camera_frames(0):
            found.append((int(frame.picture().luma[0, 0]), frame.time_s))
            if len(found) == 5:
                time.sleep(pause_s)
    return np.array(found)


def test_frames_that_come_while_an_epoch_is_staged_are_kept(device):
    numbers, times_s = taken(pause_s=0.4).T
    assert len(numbers) > 0.6 * COUNT and np.diff(numbers).max() <= 8  # 8 frames: a busy machine
    assert abs(times_s - (numbers - numbers[0]) * STEP_S).max() < 8 * STEP_S
    assert device[0].released


def test_frames_for_which_there_is_no_room_are_counted(device, monkeypatch):
    monkeypatch.setattr(camera, "MOST_WAITING", 3 * 16)
    with pytest.warns(UserWarning, match=r"\d+ of \d+ frames of camera 0 were lost"):
        numbers, _ = taken(pause_s=0.4).T
    assert np.diff(numbers).max() > 8


def test_an_error_of_the_camera_is_that_of_the_night(device, monkeypatch):
    monkeypatch.setattr(Clockwork, "read", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(camera_frames(0))


def test_the_camera_is_released_when_nobody_takes_more(device):
    frames = camera_frames(0)
    next(frames)
    frames.close()
    assert device[0].released
