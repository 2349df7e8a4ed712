"""Clips of video in files, decoded when a row is asked for.

A clip is an HDF5 file (dataset ``video``: one JPEG per frame), a folder of images such as
``image_00001.jpg``, in the natural order of their names, or a film.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from xdistill.data.files.extra import reader
from xdistill.data.files.film import check_segment, read_film
from xdistill.data.files.hdf5 import OutsideError, open_dataset, open_hdf5
from xdistill.data.files.images import IMAGE_SUFFIXES, upright_image
from xdistill.data.files.names import find_file, has_suffix, in_natural_order, inside, warn_of_gaps

Make = Callable[[Any], np.ndarray]
"""Makes pixels [h, w, c] of a PIL image."""
FILM_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".flv")


def find_clip(folder: Path, clip_id: str, *, allow_outside: bool = False) -> Path | None:
    """The HDF5 file, folder of images or film of that clip, whichever ``folder`` has.

    Raises:
        ValueError: the id leads out of the folder.
    """
    frames = inside(folder, clip_id, allow_outside=allow_outside)
    find = partial(find_file, folder, clip_id, allow_outside=allow_outside)
    return (
        find((".hdf5",))
        or (frames if frames.is_dir() else None)
        or find(FILM_SUFFIXES, folders=True)
    )


def pick_frames(total: int, wanted: int | None) -> list[int]:
    """``wanted`` positions spread evenly over ``total`` frames; a short clip repeats some."""
    if wanted is None:
        return list(range(total))
    return [(2 * place + 1) * total // (2 * wanted) for place in range(wanted)]


def read_clip(
    path: Path,
    *,
    frames: int | None = None,
    size: int | None = None,
    channels: int = 1,
    segment: tuple[int, int] | None = None,
    max_lost: float = 0.0,
    allow_outside: bool = False,
) -> UInt8[Tensor, "c t h w"]:
    """Decodes the chosen frames of one clip, upright, grey (1 channel) or RGB (3).

    Args:
        path: an HDF5 file, a folder of images or a film.
        frames: how many, spread evenly: over a film in time, over other clips by their number,
            since they say nothing of time. None for all.
        size: side of the square to which the frames are resized; None keeps them.
        channels: 1 or 3.
        segment: first frame and the one after the last, counted from 1; None for the whole file.
        max_lost: the share of a film that may be missing from what its container promises. A
            warning says how much is; more is an error.
        allow_outside: follow links of an HDF5 file to other files.

    Raises:
        ValueError: the file is damaged, has no frames, or ends before its segment.
        ImportError: the library that reads the file is missing.
    """
    make = partial(_pixels, size=size, channels=channels)
    try:
        if path.is_dir():
            pixels = _read_folder(path, make, frames, segment)
        elif has_suffix(path, (".hdf5", ".h5")):
            pixels = _read_hdf5(path, make, frames, segment, allow_outside)
        else:
            pixels = read_film(path, make, frames, segment, max_lost=max_lost)
    except ImportError:
        raise
    except Exception as error:  # h5py, pillow and av raise many kinds for a damaged file
        if type(error) is ValueError and str(path) in str(error):
            raise
        known = (ValueError, KeyError, OutsideError)
        advice = "" if type(error) in known else "; it may be truncated: copy it again"
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}){advice}"
        ) from error
    if not pixels:
        raise ValueError(f"{path} holds no frame, expected at least one; copy it again")
    if len(shapes := {one.shape for one in pixels}) > 1:
        raise ValueError(
            f"{path} holds frames of different sizes {sorted(one[:2] for one in shapes)}, expected "
            "one; pass size, the side to which all are resized"
        )
    return torch.from_numpy(np.stack(pixels).transpose(3, 0, 1, 2).copy())


def write_clip(path: Path, frames: np.ndarray, *, quality: int = 90) -> None:
    """Writes uint8 frames [t, h, w], or [t, h, w, 3], as one JPEG each in the dataset ``video``."""
    h5py, images = reader("h5py", path), reader("PIL.Image", path)
    encoded = np.empty(len(frames), object)
    for at, frame in enumerate(frames):
        buffer = BytesIO()
        images.fromarray(frame).save(buffer, "JPEG", quality=quality)
        encoded[at] = np.frombuffer(buffer.getvalue(), np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("video", data=encoded, dtype=h5py.vlen_dtype(np.uint8))


class ClipColumn(Sequence):
    """The clips of N rows, each decoded when it is asked for: float32 [C, T, H, W] from 0 to 1.

    Args:
        paths: a file or folder for each row.
        segments: for each row as in `read_clip`.
        keep_bytes: decoded clips stay in memory, one byte a value, if all of them fit into this.
        options: of `read_clip`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        segments: Sequence[tuple[int, int] | None],
        *,
        keep_bytes: float = 0.0,
        **options: Any,
    ):
        self.paths = list(paths)
        self.segments = list(segments)
        self.keep_bytes = keep_bytes
        self.options = options
        self._kept: dict[int, UInt8[Tensor, "c t h w"]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Float[Tensor, "c t h w"]:
        clip = self._kept.get(row)
        if clip is None:
            clip = read_clip(self.paths[row], segment=self.segments[row], **self.options)
            if clip.numel() * len(self) <= self.keep_bytes:
                self._kept[row] = clip
        return clip.float() / 255


def _read_folder(
    path: Path, make: Make, frames: int | None, segment: tuple[int, int] | None
) -> list[np.ndarray]:
    files = in_natural_order(one for one in path.iterdir() if has_suffix(one, IMAGE_SUFFIXES))
    if not files:
        return []
    warn_of_gaps(files)
    return [_decoded(files[at], make, path) for at in _chosen(path, len(files), frames, segment)]


def _read_hdf5(
    path: Path,
    make: Make,
    frames: int | None,
    segment: tuple[int, int] | None,
    allow_outside: bool,
) -> list[np.ndarray]:
    with open_hdf5(path) as file:
        video = open_dataset(file, "video", allow_outside=allow_outside)
        if not len(video):
            return []
        return [
            _decoded(video[at].tobytes(), make, path)
            for at in _chosen(path, len(video), frames, segment)
        ]


def _chosen(
    path: Path, count: int, frames: int | None, segment: tuple[int, int] | None
) -> list[int]:
    first, stop = check_segment(path, count, segment)
    return [first + at for at in pick_frames(stop - first, frames)]


def _decoded(source: Path | bytes, make: Make, clip: Path) -> np.ndarray:
    try:
        return make(upright_image(source))
    except ImportError:
        raise
    except Exception as error:
        name = f" ({source.name})" if isinstance(source, Path) else ""
        raise ValueError(
            f"{clip} holds a frame that cannot be decoded{name} ({type(error).__name__}: {error}); "
            "copy it again"
        ) from error


def _pixels(image: Any, size: int | None, channels: int) -> np.ndarray:
    """A PIL image as uint8 [h, w, c]."""
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image).reshape(image.height, image.width, channels)
