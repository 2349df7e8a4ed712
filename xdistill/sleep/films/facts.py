"""What a film says of itself, read from its packets without decoding its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xdistill.data.files.extra import reader
from xdistill.data.files.film import FilmIndex, film_index

UNSET_BEFORE = 1990
"""Cameras whose clock is not set write 1904 or 1970."""
VARIABLE_SHARE = 0.1
"""Steps between frames that differ by more than this share from the usual step vary."""


class FilmFacts(NamedTuple):
    """What a film says of itself.

    Attributes:
        path: the film.
        width: of the upright picture, in px.
        height: of the upright picture, in px.
        duration_s: from the first frame to the end of the last one.
        frames: their number.
        rate_hz: frames a second, on average.
        variable: whether the frames do not come at equal steps.
        start: when it was begun, by its metadata, as a clock on this machine's wall shows it; None
            where it does not say. A file's name and date are not looked at.
        rotation: by how many degrees the stored picture is turned anticlockwise to be upright.
        lost: share of the film that its container promises and that did not come.
    """

    path: Path
    width: int
    height: int
    duration_s: float
    frames: int
    rate_hz: float
    variable: bool
    start: datetime | None
    rotation: int
    lost: float


def film_facts(path: str | Path) -> FilmFacts:
    """What a film says of itself; only its first frame is decoded, which says how it is turned.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no film, or has no frame.
    """
    path = Path(path)
    index_of(path)
    status = path.stat()
    return _facts(path, status.st_size, status.st_mtime_ns)


def index_of(path: Path) -> FilmIndex:
    """When each of the film's frames is shown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no film, or has no frame.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no film {path}")
    status = path.stat()
    with naming(path):
        index = film_index(path, status.st_size, status.st_mtime_ns)
    if not len(index.times):
        raise ValueError(f"{path} is a film without a single frame; record or copy it again")
    return index


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the reading library become one sentence that names the film.

    Raises:
        ValueError: the film cannot be read.
    """
    av = reader("av", path, "sleep")
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        if str(path) in str(error) and not isinstance(error, av.FFmpegError):
            raise
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{path} cannot be read as a film (MP4, MKV, AVI and the like): {why}; play it to see "
            "whether it is whole: an MP4 that was cut has lost the index at its end"
        ) from error


def seconds(index: FilmIndex, track: Any) -> np.ndarray:
    """[n + 1] when each frame is shown, and when the last one ends, since the first."""
    stamps = np.append(index.times, index.end) - index.times[0]
    unit_s = 1 / float(track.average_rate or track.guessed_rate or 25)
    if index.exact and track.time_base:
        unit_s = float(track.time_base)
    shown_s = stamps * unit_s
    if len(shown_s) > 2:  # some writers give the last frame no length
        shown_s[-1] = max(shown_s[-1], shown_s[-2] + np.median(np.diff(shown_s[:-1])))
    return shown_s


@lru_cache(maxsize=64)
def _facts(path: Path, size: int, changed_ns: int) -> FilmFacts:
    index = film_index(path, size, changed_ns)
    with naming(path), reader("av", path, "sleep").open(str(path)) as film:
        track = film.streams.video[0]
        shown_s = seconds(index, track)
        steps = np.diff(shown_s)
        usual = float(np.median(steps))
        rotation = _rotation(film, track, path)
        turned = rotation % 180 == 90
        width, height = (track.height, track.width) if turned else (track.width, track.height)
        start = start_time({**film.metadata, **track.metadata})
    duration_s = float(shown_s[-1])
    return FilmFacts(
        path=path,
        width=width,
        height=height,
        duration_s=duration_s,
        frames=len(index.times),
        rate_hz=len(index.times) / duration_s if duration_s else 0.0,
        variable=bool(np.any(np.abs(steps - usual) > max(VARIABLE_SHARE * usual, 0.0015))),
        start=start,
        rotation=rotation,
        lost=index.lost,
    )


def start_time(metadata: Mapping[str, str]) -> datetime | None:
    """When a film was begun, without time zone: the clock on the wall where this machine stands.

    A time that is marked as UTC is turned into this machine's time zone; one with another offset
    already is the camera's wall clock.
    """
    for name in ("com.apple.quicktime.creationdate", "creation_time", "DATE_RECORDED", "date"):
        text = metadata.get(name) or metadata.get(name.lower()) or ""
        try:
            at = datetime.fromisoformat(text.strip())
        except ValueError:
            continue
        if len(text.strip()) <= len("2000-01-01") or at.year < UNSET_BEFORE:
            continue
        utc = at.tzinfo is not None and not at.utcoffset()
        return (at.astimezone() if utc else at).replace(tzinfo=None)
    return None


def _rotation(film: Any, track: Any, path: Path) -> int:
    av = reader("av", path, "sleep")
    for packet in film.demux(track):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        if frames:
            return int(frames[0].rotation) % 360
    raise ValueError(f"no frame of {path} can be decoded; record or copy it again")
