"""One image file."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_image(path: Path, channels: int = 3) -> Any:
    """The decoded PIL image, grey (1 channel) or RGB (3).

    Raises:
        ValueError: a damaged file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # pillow raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as an image ({type(error).__name__}: {error}); copy it again"
        ) from error
