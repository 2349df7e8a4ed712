"""FIF and BrainVision as a source: what mne makes of them, with pauses where they were."""

from __future__ import annotations

import re
import warnings
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from xdistill.data.files.extra import reader
from xdistill.data.files.mne_warnings import said_by_mne
from xdistill.sleep.recordings.source import Channel, Run, Source

KINDS = {"eeg": "eeg", "eog": "eog", "emg": "emg", "resp": "resp"}
"""Types of mne that are kinds of ours."""
SEGMENT = re.compile(r"^Mk\d+=New Segment,[^,]*,(\d+),\d+,\d+(?:,(\d{20}))?", re.MULTILINE)
"""Position (from 1) and time of a part in a BrainVision marker file."""


def fif_source(path: Path) -> Source:
    """The channels of a FIF file; what its acquisition skipped is a gap.

    Raises:
        ValueError: mne cannot read it.
    """
    mne = reader("mne", path, "sleep")
    raw = _opened(path, mne.io.read_raw_fif)
    rate_hz = float(raw.info["sfreq"])
    length_s = raw.n_times / rate_hz
    skips = sorted(
        (float(each["onset"]) - raw.first_time, float(each["duration"]))
        for each in raw.annotations
        if "ACQ_SKIP" in each["description"].upper()
    )
    runs, at = [], 0.0
    for begin, skipped in [*skips, (length_s, 0.0)]:
        if begin > at:
            runs.append(Run(at, at, begin - at))
        at = begin + skipped
    start = raw.info["meas_date"]
    if start is not None:
        start = start.replace(tzinfo=None) + timedelta(seconds=float(raw.first_time))
        warnings.warn(
            f"{path} starts at {start:%Y-%m-%d %H:%M:%S} by its header; FIF files state UTC, but "
            "it is taken as the local time",
            stacklevel=2,
        )
    return _source(path, raw, start, tuple(runs))


def brainvision_source(path: Path) -> Source:
    """The channels of a BrainVision recording (its .vhdr); where it was paused there is a gap.

    Raises:
        ValueError: mne cannot read it, or it was paused and does not say for how long.
    """
    mne = reader("mne", path, "sleep")
    raw = _opened(path, mne.io.read_raw_brainvision)
    start = raw.info["meas_date"]
    start = None if start is None else start.replace(tzinfo=None)
    return _source(path, raw, start, _segments(path, raw))


def _opened(path: Path, read: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not conform to MNE naming.*")
            with said_by_mne(path):
                return read(path, preload=False, verbose="warning")
    except Exception as error:  # mne raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}); it may be damaged, or "
            "a file that belongs to it may be missing: copy it again"
        ) from error


def _source(path: Path, raw: Any, start: datetime | None, runs: tuple[Run, ...]) -> Source:
    volts = reader("mne.io.constants", path, "sleep").FIFF.FIFF_UNIT_V
    rate_hz = float(raw.info["sfreq"])
    types = raw.get_channel_types()
    channels = tuple(
        Channel(one["ch_name"], rate_hz, "V" if one["unit"] == volts else "", KINDS.get(kind))
        for one, kind in zip(raw.info["chs"], types, strict=True)
    )

    def read(at: int) -> Float64[np.ndarray, " n"]:
        return np.asarray(raw.get_data(picks=[at])[0])

    return Source(path, start, channels, runs, read)


def _segments(path: Path, raw: Any) -> tuple[Run, ...]:
    """The parts between the markers "New Segment", each of which has its date and time."""
    rate_hz, length_s = float(raw.info["sfreq"]), raw.n_times / float(raw.info["sfreq"])
    vmrk = path.with_name(_marker_file(path))
    text = vmrk.read_bytes().decode("utf-8", "replace") if vmrk.is_file() else ""
    found = [((int(at) - 1) / rate_hz, stamp) for at, stamp in SEGMENT.findall(text)]
    if len(found) < 2:
        return (Run(0.0, 0.0, length_s),)
    if not all(stamp for _, stamp in found) or found[0][0] > 0:
        raise ValueError(
            f"{path} was paused {len(found) - 1} times, but {vmrk.name} does not say when it "
            "went on; export it again as EDF+D, or with the times of its segments"
        )
    times = [datetime.strptime(stamp, "%Y%m%d%H%M%S%f") for _, stamp in found]
    ends = [*(at for at, _ in found[1:]), length_s]
    runs = tuple(
        Run((time - times[0]).total_seconds(), at, end - at)
        for time, (at, _), end in zip(times, found, ends, strict=True)
    )
    if any(two.start_s < one.end_s - 1 / rate_hz for one, two in pairwise(runs)):
        raise ValueError(
            f"{vmrk} has segments that overlap in time; correct the times of its segments"
        )
    return runs


def _marker_file(path: Path) -> str:
    match = re.search(r"^MarkerFile=(.+?)\s*$", path.read_bytes().decode("latin-1"), re.MULTILINE)
    return match[1].replace("$b", path.stem) if match else f"{path.stem}.vmrk"
