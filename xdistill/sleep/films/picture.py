"""A picture as a camera or a film gives it, and how it becomes a small grey square."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xdistill.extras import import_extra

LIMITED = (16.0, 219.0)
"""Black and the range up to white of film whose levels are limited (ITU-R BT.601)."""
CHROMA_STEP = 8
"""Of every so many rows and columns, one tells whether a picture has colours."""

Region = tuple[float, float, float, float]


class Picture(NamedTuple):
    """A picture, not yet turned upright.

    Attributes:
        luma: [h, w] uint8.
        chroma: the two planes of colour, thinned out; None for a picture without.
        rotation: by which it is to be turned anticlockwise, in degrees: a multiple of 90.
        limited: whether black is 16 and white 235.
    """

    luma: np.ndarray
    chroma: tuple[np.ndarray, np.ndarray] | None = None
    rotation: int = 0
    limited: bool = False


def picture_of_frame(frame: Any) -> Picture:
    """The picture of a decoded frame; 8-bit luma is not copied.

    Raises:
        ValueError: it is shown rotated by another angle than a multiple of 90 degrees.
    """
    if frame.rotation % 90:
        raise ValueError(
            f"the film is shown rotated by {frame.rotation} degrees, expected a multiple of 90; "
            "encode it again as it is to be seen"
        )
    name = frame.format.name
    planar = name.startswith(("yuv4", "yuvj4")) and name.endswith("p")
    if not (planar or name in ("nv12", "nv21", "gray")):
        if frame.format.is_rgb:
            return picture_of_array(frame.to_ndarray(format="bgr24"), frame.rotation)
        frame = frame.reformat(format="yuv420p")  # ten bits, packed and palettes
        name = planar = "yuv420p"
    luma = _plane(frame.planes[0], frame.width, frame.height)
    full = name.startswith(("yuvj", "gray")) or int(frame.color_range) == 2
    chroma = None
    if planar:
        u, v = (_plane(plane, plane.width, plane.height) for plane in frame.planes[1:3])
        step = CHROMA_STEP // 2
        chroma = (u[::step, ::step], v[::step, ::step])
    elif name != "gray":
        both = _plane(frame.planes[1], frame.width // 2 * 2, (frame.height + 1) // 2)
        chroma = (both[::4, ::8], both[::4, 1::8])
    return Picture(luma, chroma, int(frame.rotation) % 360, not full)


def picture_of_array(pixels: np.ndarray, rotation: int = 0) -> Picture:
    """The picture of an array [h, w] grey or [h, w, 3] in OpenCV's order, blue, green, red.

    Raises:
        ValueError: another shape or type.
    """
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise ValueError(
            "a frame is uint8 [h, w] or [h, w, 3] (blue, green, red), got "
            f"{pixels.dtype} {list(pixels.shape)}"
        )
    if pixels.ndim == 2:
        return Picture(pixels, None, rotation)
    cv2 = import_extra("cv2", "sleep", "a frame with colours")
    few = np.ascontiguousarray(pixels[::CHROMA_STEP, ::CHROMA_STEP])
    turned = cv2.cvtColor(few, cv2.COLOR_BGR2YCrCb)
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2GRAY)
    return Picture(grey, (turned[..., 2], turned[..., 1]), rotation)


def square(picture: Picture, size: int, region: Region | None = None) -> np.ndarray:
    """The region of the upright picture, scaled by area: float32 [size, size], 0 black, 255 white.

    Raises:
        ValueError: the region is smaller than a pixel.
    """
    cv2 = import_extra("cv2", "sleep", "a film's frame")
    height, width = picture.luma.shape
    left, top, right, bottom = _as_stored(region or (0.0, 0.0, 1.0, 1.0), picture.rotation)
    rows = slice(round(top * height), round(bottom * height))
    columns = slice(round(left * width), round(right * width))
    part = picture.luma[rows, columns]
    if not part.size:
        raise ValueError(f"region {region} of a picture of {width} x {height} holds no pixel")
    shrunk = part.shape[0] >= size and part.shape[1] >= size
    way = cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR
    small = cv2.resize(part.astype(np.float32), (size, size), interpolation=way)
    if picture.limited:
        black, span = LIMITED
        small = np.clip((small - np.float32(black)) * np.float32(255 / span), 0, 255)
    return np.rot90(small, picture.rotation // 90) if picture.rotation else small


def colourfulness(picture: Picture) -> float:
    """How much the colours of a picture vary over it, in levels of 255; one tint counts nothing."""
    if picture.chroma is None:
        return 0.0
    first, second = (float(np.std(plane)) for plane in picture.chroma)
    return float(np.hypot(first, second))


def as_bytes(grey: np.ndarray) -> np.ndarray:
    """Grey levels rounded to uint8."""
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _as_stored(region: Region, rotation: int) -> Region:
    """Where a region of the upright picture lies in the one that is to be turned."""
    for _ in range(rotation % 360 // 90):
        left, top, right, bottom = region
        region = (1 - bottom, left, 1 - top, right)
    return region


def _plane(plane: Any, width: int, height: int) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[:height, :width]
