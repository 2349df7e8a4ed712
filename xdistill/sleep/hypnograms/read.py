"""A hypnogram from a file of any of the usual kinds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.hypnograms.annotations import read_edf_hypnogram, read_luna_hypnogram
from xdistill.sleep.hypnograms.hypnogram import Hypnogram
from xdistill.sleep.hypnograms.scores import Numbers
from xdistill.sleep.hypnograms.table import read_text_hypnogram

TEXTS = (".csv", ".tsv", ".txt", ".eannot", ".hyp")
SUFFIXES = (".edf", ".bdf", ".annot", *TEXTS)


def read_hypnogram(
    path: str | Path,
    recording_start: datetime | None = None,
    *,
    numbers: Numbers | None = None,
    epoch_s: float = EPOCH_S,
) -> Hypnogram:
    """Reads EDF+ annotations, Luna's .annot, or text: YASA's, one stage in each line, or a table.

    Args:
        path: the file; its suffix says which.
        recording_start: date and time of the recording's first sample, as `Recording.start`; where
            it is None the hypnogram is taken to start with the recording.
        numbers: whose numbers stand for stages in a text: "yasa" (4 is REM) or "rk" (4 is stage 4,
            5 is REM). None where the numbers themselves tell.
        epoch_s: length of an epoch in a text that states no times.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file of another kind, no stages in it, a stage that is none, numbers that may
            be either, or a hypnogram of another night.
        ImportError: mne is missing.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path} is no hypnogram that can be read; expected a file with one of the suffixes "
            f"{', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, expected a hypnogram; correct its name")
    if not 0 < epoch_s <= 600:
        raise ValueError(f"epoch_s is from 0 to 600 s, got {epoch_s}")
    start = None if recording_start is None else recording_start.replace(tzinfo=None)
    if suffix in TEXTS:
        return read_text_hypnogram(path, start, numbers, epoch_s)
    read = read_luna_hypnogram if suffix == ".annot" else read_edf_hypnogram
    return read(path, start)
