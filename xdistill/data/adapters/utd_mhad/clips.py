"""UTD-MHAD's files, and how each becomes a small tensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.files.mat import read_mat_array
from xdistill.data.store import default_root, digest, stored_tensors

BACKGROUND_M = -1.0
HIP_CENTRE = 3
DECODER_VERSION = 1
SOURCE = (
    "UTD-MHAD is distributed by the University of Texas at Dallas (Chen, Jafari, Kehtarnavaz, ICIP "
    "2015); the layout is <root>/Depth/a1_s1_t1_depth.mat, <root>/Inertial/a1_s1_t1_inertial.mat, "
    "<root>/Skeleton/a1_s1_t1_skeleton.mat"
)


class Clip(NamedTuple):
    """One performance of an action."""

    action: int
    subject: int
    trial: int

    @property
    def id(self) -> str:
        """The stem that the clip's files share."""
        return f"a{self.action}_s{self.subject}_t{self.trial}"


class Source(NamedTuple):
    """Where a modality is: folder, variable in the .mat file, and its fixed axes (None: time)."""

    folder: str
    variable: str
    shape: tuple[int | None, ...]


SOURCES = {
    "depth": Source("Depth", "d_depth", (240, 320, None)),
    "inertial": Source("Inertial", "d_iner", (None, 6)),
    "skeleton": Source("Skeleton", "d_skel", (20, 3, None)),
}


def find_clips(root: Path, modality: str) -> dict[Clip, Path]:
    """The files of a modality.

    Raises:
        FileNotFoundError: the modality's folder is missing or has no such file.
    """
    folder = root / SOURCES[modality].folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing. {SOURCE}")
    pattern = re.compile(rf"a(\d+)_s(\d+)_t(\d+)_{modality}\.mat")
    found = {
        Clip(*map(int, match.groups())): path
        for path in folder.iterdir()
        if (match := pattern.fullmatch(path.name))
    }
    if not found:
        raise FileNotFoundError(f"{folder} holds no file named a1_s1_t1_{modality}.mat. {SOURCE}")
    return found


def read_mat(path: Path, modality: str) -> np.ndarray:
    """The array of a file, with the axes in `SOURCES`.

    Raises:
        ValueError: the file is damaged or lacks the variable, or the array has another shape, NaN
            or infinity.
    """
    _, variable, shape = SOURCES[modality]
    array = read_mat_array(path, variable)
    fits = len(array.shape) == len(shape) and all(
        (want is None and have > 1) or want == have
        for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = tuple("time" if want is None else want for want in shape)
        raise ValueError(
            f"{path}: {variable} has shape {array.shape}, expected {expected}. {SOURCE}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {variable} holds NaN or infinity; copy the file again")
    return array


def depth_column(
    files: Sequence[Path], frames: int, size: tuple[int, int], cache: str | Path | None = None
) -> Float[Tensor, "n 1 frames height width"]:
    """All depth clips in half precision (steps below 1 mm), decoded once and kept in a file."""
    folder = Path(default_root("utd_mhad") if cache is None else cache).expanduser()
    contents = [blake2b(path.read_bytes()).digest() for path in files]
    key = digest(f"{DECODER_VERSION} {frames} {size}", *contents)

    def decode() -> dict[str, Tensor]:
        return {"clips": torch.stack([_read_depth(path, frames, size) for path in files])}

    return stored_tensors(folder / f"depth-{key}.safetensors", decode)["clips"]


def inertial_column(files: Sequence[Path], steps: int) -> Float[Tensor, "n 6 steps"]:
    """Acceleration (x, y, z) in g and angular velocity (x, y, z) in degree/s, `steps` samples."""
    signals = [_floats(read_mat(path, "inertial").T) for path in files]
    return torch.stack([resample(signal, steps) for signal in signals])


def skeleton_column(files: Sequence[Path], frames: int) -> Float[Tensor, "n 3 frames 20"]:
    """Joints in metres, relative to the hip in the first frame, in `frames` frames."""
    return torch.stack([_read_skeleton(path, frames) for path in files])


def depth_clip(
    depth_mm: Float[Tensor, "t h w"], size: tuple[int, int]
) -> Float[Tensor, "1 t height width"]:
    """A small clip of a person in front of a background of 0 mm.

    The frames are cropped to the box that the person fills over the clip, widened to the
    proportions of `size`, and each cell is averaged. A value is how much nearer a surface is than
    the person's mean depth over the clip, in metres, clipped to -1 and 1. The background is -1, so
    the silhouette is visible.

    Raises:
        ValueError: every pixel is background.
    """
    depth_m = depth_mm / 1000
    person = depth_m > 0
    if not bool(person.any()):
        raise ValueError("the depth clip holds no person: every pixel is 0")
    nearer = torch.where(person, depth_m[person].mean() - depth_m, BACKGROUND_M)
    top, left, height, width = _box(person.any(dim=0), size)
    image_h, image_w = person.shape[1:]
    left_pad, top_pad = max(0, -left), max(0, -top)
    outside = (left_pad, max(0, left + width - image_w), top_pad, max(0, top + height - image_h))
    padded = F.pad(nearer.clamp(BACKGROUND_M, 1), outside, value=BACKGROUND_M)
    top, left = top + top_pad, left + left_pad
    box = padded[:, top : top + height, left : left + width]
    return F.adaptive_avg_pool2d(box[None], size)


def resample(signal: Float[Tensor, "c t"], steps: int) -> Float[Tensor, "c steps"]:
    """Linear interpolation at `steps` evenly spaced times from the first sample to the last."""
    return F.interpolate(signal[None], size=steps, mode="linear", align_corners=True)[0]


def _read_depth(path: Path, frames: int, size: tuple[int, int]) -> Tensor:
    depth_mm = read_mat(path, "depth")  # [H, W, T]
    index = np.linspace(0, depth_mm.shape[2] - 1, frames).round().astype(int)
    try:
        return depth_clip(_floats(depth_mm[:, :, index].transpose(2, 0, 1)), size).half()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_skeleton(path: Path, frames: int) -> Tensor:
    joints = _floats(read_mat(path, "skeleton").transpose(1, 2, 0))  # [3, T, 20]
    centred = joints - joints[:, :1, HIP_CENTRE, None]
    by_joint = centred.permute(0, 2, 1).reshape(-1, joints.shape[1])  # [3 * 20, T]
    return resample(by_joint, frames).view(3, joints.shape[2], frames).permute(0, 2, 1)


def _floats(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _box(person: Bool[Tensor, "h w"], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height, width of the smallest box around the person with the given proportions."""
    rows, columns = (person.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    scale = max((bottom - top) / size[0], (right - left) / size[1])
    height, width = round(scale * size[0]), round(scale * size[1])
    return (top + bottom - height) // 2, (left + right - width) // 2, height, width
