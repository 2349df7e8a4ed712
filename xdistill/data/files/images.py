"""One image file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from xdistill.data.files.extra import reader

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
"""PIL's kinds of pixels that become 8-bit grey or RGB without a choice of a scale."""


def open_image(path: Path, channels: int = 3) -> Any:
    """The decoded PIL image, upright, grey (1 channel) or RGB (3).

    Raises:
        ValueError: a damaged file, or one of more than 8 bits a value.
        ImportError: pillow is missing.
    """
    try:
        return upright_image(path).convert("L" if channels == 1 else "RGB")
    except ImportError:
        raise
    except Exception as error:  # pillow raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as an image ({type(error).__name__}: {error}); it may be "
            "damaged: copy it again"
        ) from error


def upright_image(source: Path | bytes) -> Any:
    """The decoded image of a file, or of a file's bytes, rotated as its EXIF data say.

    Raises:
        ValueError: more than 8 bits a value: no scale is known that keeps its contrast.
        ImportError: pillow is missing.
        Exception: what pillow raises for a damaged file.
    """
    images = reader("PIL.Image", source if isinstance(source, Path) else "an image")
    from PIL import ImageOps

    with images.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
        if image.mode not in EIGHT_BIT:
            raise ValueError(
                f"its pixels are of PIL's mode {image.mode!r}, expected 8 bits a value; scale them "
                "to 8 bits and save the image again"
            )
        image.load()
        return ImageOps.exif_transpose(image)
