"""Frames of a film by the time at which they are shown.

Which frames a film has, and when each is shown, is read from its packets without decoding. Only the
frames that are asked for, and those that they are predicted from, are then decoded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xdistill.data.files.extra import reader
from xdistill.data.files.frame_gaps import tell_of_gaps
from xdistill.data.files.matroska import share_of_bytes_lost
from xdistill.data.files.mpeg import was_cut

T = TypeVar("T")
SEEKABLE = ("mov,mp4", "matroska", "avi")
"""Containers with a list of key frames; in others a seek may end between two of them."""
SLACK_S = 0.05
"""Containers round the duration that they promise."""
UNKNOWN_SHARE = 1.0
"""Of a film that was cut and does not say how long it was."""


class FilmIndex(NamedTuple):
    """The frames of a film in the order in which they are shown.

    Attributes:
        times: [n] when each frame is shown, in the track's unit of time.
        end: when the last one ends.
        keys: when those are shown from which decoding may begin; empty where that is not known.
        lost: share of the film that its container promises and that did not come.
        exact: whether each frame has a time of its own, by which it can be found.
        counted: whether the container says how many frames there are.
    """

    times: np.ndarray
    end: int
    keys: np.ndarray
    lost: float
    exact: bool
    counted: bool = True


def read_film(
    path: Path,
    make: Callable[[Any], T],
    frames: int | None = None,
    segment: tuple[int, int] | None = None,
    *,
    max_lost: float = 0.0,
) -> list[T]:
    """The chosen frames, upright.

    Args:
        path: the film.
        make: what becomes of each PIL image; the image itself is not kept.
        frames: how many, spread evenly in time; a short film repeats some. None for all.
        segment: first frame and the one after the last, counted from 1; None for the whole film.
        max_lost: the share of the promised length that may be missing, of which a warning is given.

    Frames that are missing within a film of constant rate are counted in a warning.

    Raises:
        ValueError: no frame, a segment that the film does not have, or more is missing.
    """
    status = path.stat()
    index = film_index(path, status.st_size, status.st_mtime_ns)
    check_lost(path, index.lost, max_lost)
    if not len(index.times):
        return []
    chosen = spread_in_time(index.times, index.end, frames, segment, path)
    if index.exact:
        if not index.counted:
            tell_of_gaps(path, index.times, stacklevel=3)
        found = _decode(path, make, index, [int(index.times[at]) for at in sorted(set(chosen))])
        if found is not None:
            return [found[int(index.times[at])] for at in chosen]
    return _decode_by_number(path, make, frames, segment, index.counted)


def check_lost(path: Path, lost: float, max_lost: float, what: str = "film") -> None:
    """Refuse a recording that holds less than its container promises, or warn of it.

    Raises:
        ValueError: more is missing than ``max_lost``.
    """
    if not lost:
        return
    message = f"{path} holds {1 - lost:.1%} of the {what} that its header promises"
    if lost >= UNKNOWN_SHARE:
        message = f"{path} was cut before the end of the {what}; how much is missing is not known"
    if lost > max_lost:
        enough = min(1.0, lost + 0.0005)
        raise ValueError(
            f"{message}; it may be truncated: copy it again, or pass max_lost={enough:.3f} to use "
            "what is there"
        )
    warnings.warn(message, stacklevel=5)


def spread_in_time(
    times: np.ndarray,
    end: int,
    wanted: int | None,
    segment: tuple[int, int] | None,
    path: Path,
) -> list[int]:
    """Positions of the frames that are shown at ``wanted`` evenly spread times.

    With a constant frame rate they are those of `xdistill.data.files.clips.pick_frames`.

    Raises:
        ValueError: the film has no such segment.
    """
    first, stop = check_segment(path, len(times), segment)
    if wanted is None:
        return list(range(first, stop))
    until = end if stop == len(times) else int(times[stop])
    start = int(times[first])
    # Whole numbers: a time that falls on a frame's own is never rounded to the frame before.
    moments = [2 * wanted * start + (2 * at + 1) * (until - start) for at in range(wanted)]
    inner = times[first:stop] * (2 * wanted)
    return [first + int(at) - 1 for at in np.searchsorted(inner, moments, side="right")]


def check_segment(path: Path, count: int, segment: tuple[int, int] | None) -> tuple[int, int]:
    """The first position of a segment, and the one after its last, from 0.

    Raises:
        ValueError: the segment is not within the ``count`` frames.
    """
    first, stop = segment or (1, count + 1)
    if not 1 <= first < stop <= count + 1:
        raise ValueError(
            f"{path} holds {count} frames, but its segment is [{first}, {stop}] (the first frame "
            "and the one after the last, counted from 1); copy the clip again or correct the "
            "annotation"
        )
    return first - 1, stop - 1


@lru_cache(maxsize=64)
def film_index(path: Path, size: int, changed_ns: int) -> FilmIndex:
    """Reads the packets of a film; ``size`` and ``changed_ns`` are those of the file.

    Raises:
        ValueError: the film has no pictures.
    """
    with reader("av", path).open(str(path)) as film:
        if not film.streams.video or film.format.name.endswith("_pipe"):
            raise ValueError("it is no film with pictures")
        track = film.streams.video[0]
        packets, last_s = _packets(film, track)
        times, exact = _times(packets)
        step = int(np.median(np.diff(times))) if len(times) > 1 else 1
        last = max((one.duration or 0 for one in packets if one.pts == times[-1]), default=0)
        promised = Promise(track.frames, film.duration, film.start_time, film.format.name)
        came = len([one for one in packets if not one.is_corrupt])
        step_s = float(step * track.time_base) if exact and track.time_base else 0.0
        whole = [one for one in packets if one.is_keyframe and not one.is_corrupt]
        keys = [one.pts for one in whole if one.pts is not None]
        if not exact or not film.format.name.startswith(SEEKABLE):
            keys = []
        end = int(times[-1]) + ((last if exact else 0) or step) if len(times) else 0
        damaged = (len(packets) - came) / max(1, len(packets))
        lost = max(damaged, share_lost(path, promised, came, last_s + step_s))
        counted = bool(promised.frames)
        return FilmIndex(times, end, np.array(sorted(keys), np.int64), lost, exact, counted)


class Promise(NamedTuple):
    """What a container says of its length.

    Attributes:
        frames: their number; 0 where it does not say.
        duration: in µs; None where it does not say.
        start: of the first track, in µs; None where it does not say.
        form: names of the container's format.
    """

    frames: int
    duration: int | None
    start: int | None
    form: str


def share_lost(path: Path, promised: Promise, came: int, last_s: float) -> float:
    """The share of what a container promises that did not come.

    MP4, MOV and AVI promise a number of frames, Matroska a number of bytes and a duration, FLV a
    duration (so that frames that are shown before the last one that came may be missing). MPEG
    promises nothing, but a file that was cut ends within a packet, picture or frame of sound.

    Args:
        path: the file.
        promised: what its container says.
        came: number of undamaged frames.
        last_s: when the last packet of any track ends.
    """
    if promised.frames:
        return max(0.0, 1 - came / promised.frames)
    if promised.form == "mpeg":
        return UNKNOWN_SHARE if was_cut(path) else 0.0
    if not promised.duration:
        return 0.0
    if promised.form.startswith("matroska") and (missing := share_of_bytes_lost(path)):
        return missing
    length_s = promised.duration / 1e6
    lost_s = length_s - (last_s - (promised.start or 0) / 1e6)
    return min(1.0, lost_s / length_s) if lost_s > SLACK_S else 0.0


class _Packet(NamedTuple):
    """What is kept of a packet: a film of eight hours does not fit into memory."""

    pts: int | None
    duration: int | None
    is_corrupt: bool
    is_keyframe: bool
    is_discard: bool


def _packets(film: Any, track: Any) -> tuple[list[_Packet], float]:
    """The track's packets with content, and when the last packet of any track ends."""
    mine, last_s = [], 0.0
    for packet in film.demux():
        if not packet.size:
            continue
        last_s = max(last_s, end_of_packet_s(packet))
        if packet.stream.index == track.index:
            mine.append(
                _Packet(
                    packet.pts,
                    packet.duration,
                    packet.is_corrupt,
                    packet.is_keyframe,
                    packet.is_discard,
                )
            )
    return mine, last_s


def end_of_packet_s(packet: Any) -> float:
    """When a packet ends, in seconds; 0 where it does not say, or is damaged."""
    at = packet.pts if packet.pts is not None else packet.dts
    if at is None or not packet.time_base or packet.is_corrupt:
        return 0.0
    return float((at + (packet.duration or 0)) * packet.time_base)


def _times(packets: Sequence[_Packet]) -> tuple[np.ndarray, bool]:
    """When the frames are shown, and whether the packets say so for each; else their numbers."""
    whole = [one for one in packets if not one.is_corrupt]
    stamps = [one.pts for one in whole if one.pts is not None]
    exact = len(set(stamps)) == len(whole) and not any(one.is_discard for one in whole)
    return np.array(sorted(stamps) if exact else range(len(whole)), np.int64), exact


def _decode(
    path: Path, make: Callable[[Any], T], index: FilmIndex, wanted: Sequence[int]
) -> dict[int, T] | None:
    """The frames shown at these times, in ascending order; None if one does not come."""
    found: dict[int, T] = {}
    with reader("av", path).open(str(path)) as film:
        track = film.streams.video[0]
        pictures: Iterator[Any] = film.decode(track)
        at = None  # the time of the frame that was decoded last
        for time in wanted:
            key = _key_before(index.keys, time)
            if key is not None and (at is None or key > at):
                film.seek(key, stream=track)
                pictures, at = film.decode(track), None
            for frame in pictures:
                if at is None and key is not None and (frame.pts != key or not frame.key_frame):
                    return None  # the seek ended elsewhere
                at = frame.pts
                if at is None or at >= time:
                    break
            if at != time:
                return None
            found[time] = make(upright(frame, path))
    return found


def _key_before(keys: np.ndarray, time: int) -> int | None:
    at = int(np.searchsorted(keys, time, side="right")) - 1
    return int(keys[at]) if at >= 0 else None


def _decode_by_number(
    path: Path,
    make: Callable[[Any], T],
    wanted: int | None,
    segment: tuple[int, int] | None,
    counted: bool,
) -> list[T]:
    """For films whose packets do not tell their frames: all are decoded, the chosen are kept."""
    av = reader("av", path)
    with av.open(str(path)) as film:
        stamps = [frame.pts for frame in film.decode(video=0) if not frame.is_corrupt]
    if not stamps:
        return []
    ordered = None not in stamps and stamps == sorted(set(stamps))
    times = np.array(stamps if ordered else range(len(stamps)), np.int64)
    if ordered and not counted:
        tell_of_gaps(path, times, stacklevel=4)
    step = int(np.median(np.diff(times))) if len(times) > 1 else 1
    chosen = spread_in_time(times, int(times[-1]) + step, wanted, segment, path)
    kept: dict[int, T] = {}
    with av.open(str(path)) as film:
        whole = (frame for frame in film.decode(video=0) if not frame.is_corrupt)
        for at, frame in enumerate(whole):
            if at in chosen:
                kept[at] = make(upright(frame, path))
    return [kept[at] for at in chosen]


def upright(frame: Any, path: Path) -> Any:
    """A decoded frame as a PIL image, rotated as its film says that it is shown.

    Raises:
        ValueError: by another angle than a multiple of 90 degrees, or a damaged frame.
    """
    if frame.is_corrupt:
        raise ValueError("the decoder says that a frame is damaged")
    if frame.rotation % 90:
        raise ValueError(
            f"{path} is shown rotated by {frame.rotation} degrees, expected a multiple of 90; "
            "encode it again as it is to be seen"
        )
    return frame.to_image().rotate(frame.rotation, expand=True)
