"""What the tests of Sleep-EDF's adapter share."""

import shutil
from datetime import datetime
from pathlib import Path

SMALL = {"folds": 3, "wake_minutes": 2}
FIRST = "SC4001E0-PSG.edf"
START = datetime(1990, 1, 2, 20)
NAMES = ("eeg", "eog", "emg", "resp")


def three_subjects(whole: Path, folder: Path) -> Path:
    """A copy of three subjects of the sample, which a test may break."""
    copied = folder / "sleep_edf"
    copied.mkdir()
    for path in (whole / "sleep-cassette").glob("SC40[0-2]*"):
        shutil.copy(path, copied)
    return copied
