"""The frames of a camera, each with the time at which it came."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import numpy as np

from xdistill.extras import import_extra
from xdistill.sleep.films.picture import picture_of_array
from xdistill.sleep.films.timed import TimedFrame

PATIENCE_S = 5.0
"""A camera that delivers nothing for so long has stopped."""
MOST_WAITING = 256 * 2**20
"""Bytes of frames that may wait while an epoch is staged; further ones are lost, and counted."""
LOOK_S = 0.5
"""So often it is looked whether the reading thread still runs; Ctrl-C is heard in between."""


def camera_frames(source: int | Iterable[tuple[float, np.ndarray]]) -> Iterator[TimedFrame]:
    """The frames of a camera as they come.

    Args:
        source: the number of a camera for OpenCV, or pairs of a time in seconds and a frame, uint8
            [h, w] or [h, w, 3] (blue, green, red). The first frame's time is the clock's zero.

    Raises:
        OSError: the camera cannot be opened, or delivers no frame.
        ValueError: a frame of another kind, or one whose time is not after the one before.
    """
    pairs = _from_device(source) if isinstance(source, int) else source
    first, last = None, -np.inf
    for at, pixels in pairs:
        first = at if first is None else first
        if not at > last:
            raise ValueError(
                f"a frame's time is {at} s after one at {last} s; frames must come in the order "
                "of their times, in seconds"
            )
        last = at
        yield TimedFrame(float(at - first), partial(picture_of_array, np.array(pixels)))


def _from_device(number: int) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a camera, read in a thread of their own.

    While an epoch is staged nobody takes frames: without the thread the camera would drop those of
    that time, and give the next ones late.
    """
    cv2 = import_extra("cv2", "sleep", "a camera")
    camera = cv2.VideoCapture(number)
    reader = _Reader(camera)
    try:
        if not camera.isOpened():
            raise OSError(
                f"camera {number} cannot be opened; is it connected, free, and may this user read "
                "it (/dev/video…)? Cameras are counted from 0"
            )
        reader.start()
        yield from reader.frames()
        message = f"camera {number} has delivered no frame for {PATIENCE_S:.0f} s"
        if not reader.came:
            raise OSError(f"{message}; is another program using it?")
        warnings.warn(f"{message}; the night ends here", stacklevel=2)
    finally:
        reader.stop()
        camera.release()
        if reader.lost:
            warnings.warn(
                f"{reader.lost} of {reader.came} frames of camera {number} were lost, for staging "
                "was slower than the camera; the epochs are marked where that made a gap. Record "
                "at a lower rate or size",
                stacklevel=2,
            )


class _Reader(Thread):
    """Takes every frame as it comes, until the camera or the night ends.

    Attributes:
        came: frames so far.
        lost: frames for which there was no room.
    """

    def __init__(self, camera: Any):
        super().__init__(daemon=True)
        self.came = self.lost = 0
        self._camera = camera
        self._waiting: SimpleQueue[tuple[float, np.ndarray]] = SimpleQueue()
        self._over = Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Read until the camera has been silent for `PATIENCE_S`, or `stop`."""
        try:
            self._read()
        except Exception as error:  # it is raised where the frames are taken
            self._error = error

    def _read(self) -> None:
        last_s = time.monotonic()
        while not self._over.is_set():
            whole, pixels = self._camera.read()
            now_s = time.monotonic()
            if whole:
                last_s = now_s
                self.came += 1
                if self._waiting.qsize() * pixels.nbytes < MOST_WAITING:
                    self._waiting.put((now_s, pixels))
                else:
                    self.lost += 1
            elif now_s - last_s > PATIENCE_S:
                return
            else:
                time.sleep(0.01)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """The frames in order, until the thread has ended and all are taken."""
        while True:
            alive = self.is_alive()
            try:
                yield self._waiting.get(timeout=LOOK_S if alive else 0)
            except Empty:
                if not alive:
                    break
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread; a camera that hangs is left alone."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=PATIENCE_S)
