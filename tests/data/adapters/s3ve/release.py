"""Reading and changing a release of S3VE."""

import json
import warnings
from pathlib import Path

import numpy as np


def annotations(root: Path) -> dict:
    return json.loads((root / "s3ve.json").read_text())


def annotate(root: Path, change) -> None:
    content = annotations(root)
    change(content["database"])
    (root / "s3ve.json").write_text(json.dumps(content))


def first_clip(root: Path) -> tuple[str, str]:
    """Id and label of the first clip of the training subset."""
    clip_id, entry = next(iter(annotations(root)["database"].items()))
    return clip_id, entry["annotations"]["label"]


def file_of(root: Path, modality: str) -> Path:
    clip_id, label = first_clip(root)
    suffix = "hdf5" if modality == "video" else "npy"
    return root / modality / label / f"{clip_id}.{suffix}"


def write_film(path: Path, frames: np.ndarray) -> None:
    import av

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with av.open(str(path), "w") as film:
            stream = film.add_stream("mpeg4", rate=1)
            stream.width, stream.height = frames.shape[2], frames.shape[1]
            stream.pix_fmt = "yuv420p"
            stream.bit_rate = 10_000_000
            for frame in frames:
                rgb = np.repeat(frame[..., None], 3, axis=2)
                film.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            film.mux(stream.encode())
