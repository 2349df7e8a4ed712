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
SHIFTED_PX, AGREED_PX = 0.6, 0.5
"""By how much tiles are shifted, and agree, when the camera has moved; of a side of 96."""
CLEAR, AGREED = 0.25, 0.6
"""A tile's shift counts when its correlation peaks so clearly; the share of those that agree."""
LEAST_TILES = 5
STAYS = 5
"""Pictures, one a second, that show where the camera looks at the end of an epoch."""


class SceneWatch:
    """Marks of each epoch's scene; it knows where the camera looked before."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

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
        seen = scene[~(black | white)]
        if len(seen) >= STAYS:
            now = np.median(seen[-STAYS:], axis=0)
            before = np.median(seen[:STAYS], axis=0) if self._before is None else self._before
            if camera_moved(before, now):
                marks.add(Mark.CAMERA_MOVED)
            self._before = now
        return frozenset(marks)


def camera_moved(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the still background of two pictures [B, B] is shifted or turned.

    Most tiles of the picture that have something to see agree on one shift and turn. A body that
    moves shifts its own tiles alone.
    """
    cv2 = import_extra("cv2", "sleep", "a film's scene")
    side = len(before) // TILES
    unit = len(before) / 96
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    centres, shifts = [], []
    for top in range(0, side * TILES, side):
        for left in range(0, side * TILES, side):
            tiles = [
                np.ascontiguousarray(each[top : top + side, left : left + side], np.float32)
                for each in (before, after)
            ]
            if min(tile.std() for tile in tiles) < 2:
                continue
            (x, y), peak = cv2.phaseCorrelate(tiles[0], tiles[1], window)
            if peak >= CLEAR:
                centres.append((left + side / 2, top + side / 2))
                shifts.append((x, y))
    if len(centres) < LEAST_TILES:
        return False
    start, shift = np.array(centres, np.float32), np.array(shifts, np.float32)
    matrix, agreed = cv2.estimateAffinePartial2D(
        start, start + shift, ransacReprojThreshold=AGREED_PX * unit
    )
    if matrix is None or agreed.mean() < AGREED:
        return False
    inside = agreed.ravel().astype(bool)
    return bool(np.median(np.hypot(*shift[inside].T)) > SHIFTED_PX * unit)
