"""What mne warns of while it reads a file, with the name of the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HARMLESS = ("pass filters", "pass cutoff")
"""Of the filters that a header states; no sample depends on them."""


@contextmanager
def said_by_mne(path: Path) -> Iterator[None]:
    """Warns once of each thing that mne warns of inside, except of filters."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(one.message) for one in caught):
        if not any(part in text for part in HARMLESS):
            warnings.warn(f"{path}: mne warns: {text}", stacklevel=3)
