"""What the whole picture tells of camera and light: black, saturated, coloured, moved."""

from __future__ import annotations

import numpy as np

from xdistill.extras import import_extra
from xdistill.sleep.marks import Mark

BLACK = 12.0
"""Grey level below which all but a hundredth of a black picture lies."""
WHITE, MUCH = 250.0, 0.5
"""A picture is saturated when so much of it is this bright."""
COLOURS = 4.0
"""Levels of 255 by which colours vary over a picture that has some."""
LONG = 0.1
"""Share of an epoch from which a mark is set."""
TILES = 4
LEAST_SPREAD = 2.0
"""Grey levels (standard deviation) of a tile with something to see."""
LEAST_TILES = 5
"""With something to see, from which the camera's moves are told."""
STILL_PX, STILL_SHARE = 0.6, 1 / 3
"""A tile is where it was when it is shifted by less, of a side of 96; so few are when the camera
has moved. A body leaves more: those of the picture's edges."""
CLEAR = 0.3
"""Correlation of a tile from which its shift is known."""
STAYS = 5
"""Pictures, one a second, that show where the camera looks at the end of an epoch."""


class SceneWatch:
    """Marks of each epoch's scene; it knows where the camera looked before."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._coloured = False

    def __call__(self, scene: np.ndarray, colours: np.ndarray) -> frozenset[Mark]:
        """Marks of an epoch.

        Args:
            scene: [n, B, B] grey levels of the whole picture, once a second.
            colours: [n] how much the colours vary over each.
        """
        marks = set()
        flat = scene.reshape(len(scene), -1)
        black = np.percentile(flat, 99, axis=1) < BLACK
        white = (flat >= WHITE).mean(axis=1) >= MUCH
        for mark, found in (
            (Mark.DARK, black),
            (Mark.BRIGHT, white),
            (Mark.COLOUR, colours >= COLOURS),
        ):
            if found.mean() >= LONG:
                marks.add(mark)
        if (Mark.COLOUR in marks) != self._coloured:  # daylight shows another picture
            self._before, self._coloured = None, not self._coloured
            return frozenset(marks)
        seen = scene[~(black | white)]
        if len(seen) >= STAYS:
            now = np.median(seen[-STAYS:], axis=0)
            before = np.median(seen[:STAYS], axis=0) if self._before is None else self._before
            if camera_moved(before, now):
                marks.add(Mark.CAMERA_MOVED)
            self._before = now
        return frozenset(marks)


def camera_moved(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the still background of two pictures [B, B] is elsewhere.

    Hardly a tile of the picture that has something to see is where it was. A body that moves shifts
    its own tiles alone; one that fills the whole picture cannot be told from a moved camera.
    """
    cv2 = import_extra("cv2", "sleep", "a film's scene")
    side = len(before) // TILES
    limit = STILL_PX * len(before) / 96
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    still = []
    for top in range(0, side * TILES, side):
        for left in range(0, side * TILES, side):
            tiles = [
                np.ascontiguousarray(each[top : top + side, left : left + side], np.float32)
                for each in (before, after)
            ]
            if min(tile.std() for tile in tiles) >= LEAST_SPREAD:
                shift, peak = cv2.phaseCorrelate(*tiles, window)
                still.append(peak >= CLEAR and np.hypot(*shift) < limit)
    return len(still) >= LEAST_TILES and bool(np.mean(still) <= STILL_SHARE)
