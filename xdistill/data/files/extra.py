"""Optional libraries for files, imported when the first file of their kind is read or written."""

from __future__ import annotations

import importlib
from typing import Any

EXTRAS = {"av": "video", "h5py": "video", "mne": "eeg", "PIL": "video", "soundfile": "audio"}
"""The extra of xdistill that installs each library."""


def reader(module: str, file: object, extra: str | None = None) -> Any:
    """A library, or one sentence that says which extra to install.

    Args:
        module: a library or a module of it, as in "PIL.Image".
        file: what is to be read, for the message.
        extra: that installs it; the one in `EXTRAS` when None.

    Raises:
        ImportError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # a binary mismatch raises the last two
        library = module.partition(".")[0]
        raise ImportError(
            f"files like {file} need {library}, which failed to import ({type(error).__name__}: "
            f"{error}); install it with `pip install xdistill[{extra or EXTRAS[library]}]`"
        ) from error
