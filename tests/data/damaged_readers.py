"""Every reader with a small file for it, and what may pass where files have no checksum."""

import gzip
import json
import struct
from datetime import datetime
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch
from PIL import Image
from scipy.io import savemat

from tests.data.damage import (
    Reader,
    one_differs,
    same_shape,
)
from tests.data.files.films import write_film
from xdistill.data import samples
from xdistill.data.adapters import crisismmd
from xdistill.data.adapters.av_digits.files import read_mnist, read_waveform
from xdistill.data.adapters.ccl import ACTIVITYNET
from xdistill.data.adapters.ccl import read_annotations as read_ccl
from xdistill.data.adapters.crema_d import crema_d
from xdistill.data.adapters.mm_imdb import mm_imdb
from xdistill.data.adapters.s3ve.index import read_annotations, read_table
from xdistill.data.adapters.sleep_edf.index import find_nights
from xdistill.data.adapters.sleep_edf.nights import read_epochs
from xdistill.data.adapters.sleep_edf_features import read_night
from xdistill.data.adapters.uci_mfeat import read_features as read_mfeat
from xdistill.data.adapters.utd_mhad.clips import read_mat
from xdistill.data.files.arrays import read_array, read_labels
from xdistill.data.files.clips import read_clip, write_clip
from xdistill.data.files.edf import Waveform, write_edf, write_edf_annotations
from xdistill.data.files.edf_annotations import read_edf_annotations
from xdistill.data.files.hdf5_column import HDF5Column
from xdistill.data.files.images import open_image
from xdistill.data.files.json_file import read_json
from xdistill.data.files.mapped_column import MappedColumn
from xdistill.data.files.row_orders import read_order
from xdistill.data.files.sound import read_sound

VALUES = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
WAVE = np.random.default_rng(1).normal(size=(30, 6))
PIXELS = np.random.default_rng(2).integers(0, 255, (24, 32, 3)).astype(np.uint8)
START = datetime(1990, 1, 2, 20)
RATE_HZ = 8000
TONE = (0.5 * np.sin(np.arange(RATE_HZ // 4) / 5)).astype(np.float32)
NIGHT, SCORES = "SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"
NO_SUM = "has no checksum: another value passes, of the same shape and finite"


def write_night(folder: Path) -> None:
    wave = Waveform("EMG submental", "uV", 1, 2047.0, np.arange(300))
    write_edf(folder / NIGHT, [wave], start=START)
    blocks = [(30.0 * at, 30.0, f"Sleep stage {'W12R'[at % 4]}") for at in range(10)]
    write_edf_annotations(folder / SCORES, blocks, start=START)


def read_whole_night(folder: Path):
    (night,) = find_nights(folder, modalities=["emg"], wake_minutes=None)
    return [read_epochs(night, "emg"), [list(map(float, one)) for one in night.epochs]]


def write_mnist(folder: Path, *, packed: bool) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (8, 28, 28)).astype(np.uint8)
    images = struct.pack(">4I", 0x803, 8, 28, 28) + pixels.tobytes()
    labels = struct.pack(">2I", 0x801, 8) + bytes(range(8))
    for name, content in (("images-idx3", images), ("labels-idx1", labels)):
        path = folder / f"t10k-{name}-ubyte"
        if packed:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            path.write_bytes(content)


def write_hdf5(folder: Path) -> None:
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["x"] = VALUES


def write_mfeat(folder: Path) -> None:
    np.savetxt(folder / "mfeat-mor", np.random.default_rng(4).normal(size=(2000, 6)), fmt="%.3f")


def write_npz(folder: Path) -> None:
    np.savez(folder / "SC4001.npz", features=np.ones((40, 105)), labels=np.arange(40) % 6)


def write_annotations(folder: Path) -> None:
    database = {
        f"c{at}": {
            "subset": "training",
            "subject": f"s{at % 3}",
            "night_s": 30 * at,
            "annotations": {"label": "W", "segment": [1, 31]},
        }
        for at in range(6)
    }
    content = json.dumps({"labels": ["W", "N1"], "database": database})
    (folder / "s3ve.json").write_text(content)
    (folder / "activitynet.json").write_text(content)


def write_table(folder: Path) -> None:
    rows = "".join(f"clip{at},s{at % 3},N2,v.npy,e.npy,{30 * at}\n" for at in range(6))
    (folder / "s3ve.csv").write_text("id,subject,label,video,eeg,start_s\n" + rows)


def names_of(clips) -> list[list[str]]:
    return [[one.id, one.subject, str(one.label), str(one.start_s)] for one in clips]


def write_sound(folder: Path, suffix: str) -> None:
    soundfile.write(folder / f"a{suffix}", TONE, RATE_HZ)


def write_waveform(folder: Path) -> None:
    write_sound(folder, ".wav")


def read_column(folder: Path) -> list:
    column = HDF5Column(folder / "a.hdf5", "x", 6, torch.from_numpy)
    return [column[row] for row in range(6)]


def read_mapped(folder: Path) -> list:
    column = MappedColumn(folder / "a.npy", (5,), "")
    return [column[row] for row in range(len(column))]


def film(suffix: str, codec: str, *, sound: bool = False) -> Reader:
    greys = tuple(range(10, 250, 20))
    write = partial(write_film, codec=codec, greys=greys, sound_at_s=0.0 if sound else None)
    read = partial(read_sound, rate_hz=RATE_HZ, seconds=0.4) if sound else read_clip
    counted = sound or suffix in (".mp4", ".avi")
    return Reader(
        f"a{suffix}",
        lambda folder: write(folder / f"a{suffix}"),
        lambda folder: read(folder / f"a{suffix}"),
        same_shape if counted else fewer_frames,
        "the packets of a film have no checksum: frames of other pixels, or at another time, pass"
        + ("" if counted else "; its container states no number of frames: one may be missing"),
        costly=True,
    )


def fewer_frames(found, expected) -> bool:
    """Frames of the same size. One that is lost leaves a gap in time, as variable rates do."""
    return found.shape[0] == 1 and found.shape[2:] == expected.shape[2:] and bool(found.shape[1])


def list_of_texts(found, expected) -> bool:
    """A text has no checksum: other letters in a name, or another digit, pass."""
    return isinstance(found, type(expected))


READERS = {
    "npy": Reader(
        "a.npy",
        lambda folder: np.save(folder / "a.npy", VALUES),
        lambda folder: read_array(folder / "a.npy"),
        same_shape,
        f"npy {NO_SUM}; a flip from '<' to '>' in the header swaps all bytes",
    ),
    "npy mapped": Reader(
        "a.npy",
        lambda folder: np.save(folder / "a.npy", VALUES),
        read_mapped,
        same_shape,
        f"npy {NO_SUM}",
    ),
    "npy labels": Reader(
        "a.npy",
        lambda folder: np.save(folder / "a.npy", np.arange(200)),
        lambda folder: read_labels(folder / "a.npy", ""),
        same_shape,
        f"npy {NO_SUM}",
    ),
    "mat": Reader(
        "a.mat",
        lambda folder: savemat(folder / "a.mat", {"d_iner": WAVE}),
        lambda folder: read_mat(folder / "a.mat", "inertial"),
        same_shape,
        f"an uncompressed mat {NO_SUM}",
    ),
    "mat packed": Reader(
        "a.mat",
        lambda folder: savemat(folder / "a.mat", {"d_iner": WAVE}, do_compression=True),
        lambda folder: read_mat(folder / "a.mat", "inertial"),
    ),
    "hdf5 clip": Reader(
        "a.hdf5",
        lambda folder: write_clip(folder / "a.hdf5", PIXELS[None].repeat(3, 0)),
        lambda folder: read_clip(folder / "a.hdf5"),
        same_shape,
        f"a JPEG in HDF5 {NO_SUM}",
    ),
    "hdf5 column": Reader(
        "a.hdf5", write_hdf5, read_column, same_shape, f"HDF5 without a filter {NO_SUM}"
    ),
    "jpg": Reader(
        "a.jpg",
        lambda folder: Image.fromarray(PIXELS).save(folder / "a.jpg"),
        lambda folder: np.asarray(open_image(folder / "a.jpg")),
        lambda found, expected: found.ndim == 3 and found.shape[2] == 3,
        "JPEG has no checksum: other pixels pass, or another size, which nothing contradicts",
    ),
    "png": Reader(
        "a.png",
        lambda folder: Image.fromarray(PIXELS).save(folder / "a.png"),
        lambda folder: np.asarray(open_image(folder / "a.png")),
    ),
    "wav": Reader(
        "a.wav",
        write_waveform,
        lambda folder: read_sound(folder / "a.wav", rate_hz=RATE_HZ),
        one_differs,
        f"wav {NO_SUM}; only that sample differs",
    ),
    "fsdd": Reader(
        "a.wav",
        write_waveform,
        lambda folder: read_waveform(folder / "a.wav", 2400),
        one_differs,
        f"wav {NO_SUM}; only that sample differs",
    ),
    "flac": Reader(
        "a.flac",
        partial(write_sound, suffix=".flac"),
        lambda folder: read_sound(folder / "a.flac", rate_hz=RATE_HZ),
        lambda found, expected: found.shape != expected.shape and bool(np.isfinite(found).all()),
        "FLAC's frames have checksums, but its first block, with the rate, has none",
    ),
    "ogg": Reader(
        "a.ogg",
        partial(write_sound, suffix=".ogg"),
        lambda folder: read_sound(folder / "a.ogg", rate_hz=RATE_HZ),
    ),
    "mp3": Reader(
        "a.mp3",
        partial(write_sound, suffix=".mp3"),
        lambda folder: read_sound(folder / "a.mp3", rate_hz=RATE_HZ),
        lambda found, expected: bool(np.isfinite(found).all()),
        "mp3 has no checksum: other samples pass",
    ),
    "idx": Reader(
        "t10k-images-idx3-ubyte",
        partial(write_mnist, packed=False),
        lambda folder: list(read_mnist(folder, "t10k")),
        same_shape,
        f"idx {NO_SUM}",
    ),
    "idx packed": Reader(
        "t10k-images-idx3-ubyte.gz",
        partial(write_mnist, packed=True),
        lambda folder: list(read_mnist(folder, "t10k")),
    ),
    "edf": Reader(
        NIGHT,
        write_night,
        read_whole_night,
        same_shape,
        f"EDF {NO_SUM}: a flipped sample, or a calibration of other digits",
    ),
    "hypnogram": Reader(
        SCORES,
        write_night,
        lambda folder: [
            [str(part) for part in one] for one in read_edf_annotations(folder / SCORES).blocks
        ],
        list_of_texts,
        "EDF+ has no checksum: another digit in a time or a stage passes",
    ),
    "npz": Reader("SC4001.npz", write_npz, lambda folder: list(read_night(folder / "SC4001.npz"))),
    "mfeat": Reader(
        "mfeat-mor",
        write_mfeat,
        lambda folder: read_mfeat(folder, "mor"),
        same_shape,
        f"a table of digits {NO_SUM}",
        cut=lambda found, expected: int((found != expected).sum()) <= 1,
        costly=True,
    ),
    "pth": Reader(
        crisismmd.FILE,
        lambda folder: samples.write_crisismmd_sample(folder),
        lambda folder: list(crisismmd._read(folder / crisismmd.FILE)),
        costly=True,
    ),
    "mm_imdb": Reader(
        "multimodal_imdb.hdf5",
        lambda folder: samples.write_mm_imdb_sample(folder),
        lambda folder: [
            [part.read("image_features", 0), part.target, list(part.ids), list(part.classes)]
            for part in mm_imdb(folder, modalities=["image_features"])
        ],
        same_shape,
        f"HDF5 without a filter {NO_SUM}",
        costly=True,
    ),
    "s3ve.json": Reader(
        "s3ve.json",
        write_annotations,
        lambda folder: names_of(read_annotations(folder)),
        list_of_texts,
        "JSON has no checksum: another letter or digit passes",
    ),
    "ccl.json": Reader(
        "activitynet.json",
        write_annotations,
        lambda folder: [
            [one.clip.id, one.clip.label, str(one.segment)]
            for one in read_ccl(folder, ACTIVITYNET, "")[0]
        ],
        list_of_texts,
        "JSON has no checksum: another letter or digit passes",
    ),
    "json": Reader(
        "s3ve.json",
        write_annotations,
        lambda folder: read_json(folder / "s3ve.json"),
        lambda found, expected: True,
        "JSON has no checksum: another letter or digit passes",
    ),
    "table": Reader(
        "s3ve.csv",
        write_table,
        lambda folder: names_of(read_table(folder / "s3ve.csv")),
        list_of_texts,
        "a table has no checksum: another letter or digit passes",
        cut=lambda found, expected: len(found) <= len(expected),
    ),
    "orders": Reader(
        "orders.csv",
        lambda folder: (folder / "orders.csv").write_text(
            "group_0\n" + "".join(f"{at}\n" for at in np.random.default_rng(5).permutation(40))
        ),
        lambda folder: read_order(folder / "orders.csv", 0, 40),
    ),
    "list": Reader(
        "train.csv",
        lambda folder: samples.write_crema_d_sample(folder),
        lambda folder: [list(part.ids) for part in crema_d(folder, folds=3, modalities=["audio"])],
        list_of_texts,
        "a list has no checksum and promises no length",
        cut=lambda found, expected: sum(map(len, found)) < sum(map(len, expected)),
        costly=True,
    ),
    "mp4": film(".mp4", "mpeg4"),
    "mkv": film(".mkv", "libx264"),
    "avi": film(".avi", "mpeg4"),
    "mpg": film(".mpg", "mpeg2video"),
    "flv": film(".flv", "flv"),
    "mp4 sound": film(".mp4", "mpeg4", sound=True),
    "mkv sound": film(".mkv", "mpeg4", sound=True),
    "avi sound": film(".avi", "mpeg4", sound=True),
}
