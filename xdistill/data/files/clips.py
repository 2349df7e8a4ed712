"""Clips of video in files, decoded when a row is asked for.

A clip is an HDF5 file (dataset ``video``: one JPEG per frame), a folder of JPEG files such as
``image_%05d.jpg``, in the order of their names, or a film.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

FILM_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".mpg", ".flv")


def find_clip(folder: Path, clip_id: str) -> Path | None:
    """The HDF5 file, folder of JPEG files or film of that clip, whichever ``folder`` has."""
    names = (f"{clip_id}.hdf5", clip_id, *(clip_id + suffix for suffix in FILM_SUFFIXES))
    return next((folder / name for name in names if (folder / name).exists()), None)


def pick_frames(total: int, wanted: int | None) -> list[int]:
    """``wanted`` positions spread evenly over ``total`` frames; a short clip repeats some."""
    if wanted is None:
        return list(range(total))
    return [int((place + 0.5) * total / wanted) for place in range(wanted)]


def read_clip(
    path: Path,
    *,
    frames: int | None = None,
    size: int | None = None,
    channels: int = 1,
    segment: tuple[int, int] | None = None,
) -> UInt8[Tensor, "c t h w"]:
    """Decodes the chosen frames of one clip, grey (1 channel) or RGB (3).

    Args:
        path: an HDF5 file, a folder of JPEG files or a film.
        frames: how many, spread evenly over the clip; None for all.
        size: side of the square to which the frames are resized; None keeps them.
        channels: 1 or 3.
        segment: first frame and the one after the last, counted from 1; None for the whole file.

    Raises:
        ValueError: the file is damaged, has no frames, or ends before its segment.
    """
    read = _read_folder if path.is_dir() else _read_hdf5 if path.suffix == ".hdf5" else _read_film
    try:
        stored = read(path)
    except Exception as error:  # h5py, pillow and av raise many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}); it may be truncated: copy "
            "it again"
        ) from error
    if not len(stored):
        raise ValueError(f"{path} holds no frame, expected at least one; copy it again")
    first, end = segment or (1, len(stored) + 1)
    if not 1 <= first < end <= len(stored) + 1:
        raise ValueError(
            f"{path} holds {len(stored)} frames, but its segment is [{first}, {end}] (the first "
            "frame and the one after the last, counted from 1); copy the clip again or correct "
            "the annotation"
        )
    chosen = [stored[first - 1 + at] for at in pick_frames(end - first, frames)]
    try:
        pixels = np.stack([_pixels(frame, size, channels) for frame in chosen])  # [t, h, w, c]
    except Exception as error:
        raise ValueError(
            f"{path} holds a frame that cannot be decoded, or frames of different sizes "
            f"({type(error).__name__}: {error}); copy it again"
        ) from error
    return torch.from_numpy(pixels.transpose(3, 0, 1, 2).copy())


def write_clip(path: Path, frames: np.ndarray, *, quality: int = 90) -> None:
    """Writes uint8 frames [t, h, w], or [t, h, w, 3], as one JPEG each in the dataset ``video``."""
    import h5py
    from PIL import Image

    encoded = np.empty(len(frames), object)
    for at, frame in enumerate(frames):
        buffer = BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        encoded[at] = np.frombuffer(buffer.getvalue(), np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("video", data=encoded, dtype=h5py.vlen_dtype(np.uint8))


class ClipColumn(Sequence):
    """The clips of N rows, each decoded when it is asked for: float32 [C, T, H, W] from 0 to 1.

    Args:
        paths: a file or folder for each row.
        segments: for each row as in `read_clip`.
        keep_bytes: decoded clips stay in memory, one byte a value, if all of them fit into this.
        options: `frames`, `size` and `channels` of `read_clip`.
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


def _read_hdf5(path: Path) -> list[np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        return list(file["video"][:])  # type: ignore[index]


def _read_folder(path: Path) -> list[Path]:
    return sorted(one for one in path.glob("*.jpg") if not one.name.startswith("._"))


def _read_film(path: Path) -> list[Any]:
    """The film's frames as the decoder returns them; only the chosen ones are converted."""
    import av

    with av.open(str(path)) as film:
        return list(film.decode(video=0))


def _pixels(frame: Any, size: int | None, channels: int) -> np.ndarray:
    """Decodes one frame (JPEG bytes, a JPEG file, or a film's frame): uint8 [h, w, c]."""
    from PIL import Image

    if isinstance(frame, Path):
        image = Image.open(frame)
    elif isinstance(frame, np.ndarray):
        image = Image.open(BytesIO(frame.tobytes()))
    else:
        image = frame.to_image()
    with image:
        image = image.convert("L" if channels == 1 else "RGB")
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(image).reshape(image.height, image.width, channels)
