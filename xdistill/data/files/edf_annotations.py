"""Annotations of EDF+ files, read by mne."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from xdistill.data.files.edf import read_edf_header, start_time
from xdistill.data.files.edf_times import first_onset
from xdistill.data.files.extra import reader
from xdistill.data.files.mne_warnings import said_by_mne


class Annotations(NamedTuple):
    """What an EDF+ file says, and of when.

    Attributes:
        start: date and time of the first record, without a time zone; None where it is no date.
        blocks: start in s since then, length in s, and text.
    """

    start: datetime | None
    blocks: list[tuple[float, float, str]]


def read_edf_annotations(path: Path, extra: str = "eeg") -> Annotations:
    """The annotations of an EDF+ file.

    Args:
        path: the file.
        extra: of xdistill that installs mne for the caller.

    Raises:
        ValueError: a damaged file, or one without annotations.
    """
    mne = reader("mne", path, extra)
    header = read_edf_header(path)
    try:
        with said_by_mne(path):
            found = _annotations(mne, path)
    except Exception as error:  # mne raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as annotations ({type(error).__name__}: {error}); if it is a "
            "hypnogram, copy it again"
        ) from error
    if not len(found):
        raise ValueError(f"{path} holds no annotation, expected those of a hypnogram")
    start = start_time(header)
    if start is not None:  # mne counts from the first record
        start += timedelta(seconds=first_onset(path, header))
    blocks = [
        (float(start_s), float(length_s), str(text))
        for start_s, length_s, text in zip(
            found.onset, found.duration, found.description, strict=True
        )
    ]
    return Annotations(start, blocks)


def _annotations(mne: Any, path: Path) -> Any:
    """EDF+ demands UTF-8. Older recorders write Latin-1, which a stage's name never needs."""
    try:
        return mne.read_annotations(path)
    except Exception as error:
        if "encoding" not in str(error) and not isinstance(error, UnicodeDecodeError):
            raise
        return mne.read_annotations(path, encoding="latin1")
