"""UCF51: the 51 actions of UCF101 whose clips have sound, with PANNs features of that sound.

Soomro, Zamir, Shah, "UCF101" (arXiv 1212.0402): clips of some seconds, cut from 25 videos for each
class. Chen et al., "Distilling audio-visual knowledge by compositional contrastive learning" (CVPR
2021, CCL) distil a PANNs CNN14 teacher into an R(2+1)D student on split 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xdistill.data.adapters.ucf51.index import SILENT, Clip, audio_files, read_index, video_files
from xdistill.data.cards import DatasetCard
from xdistill.data.files.clips import ArrayColumn, ClipColumn, read_features
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

AUDIO_WIDTH = 512
HELD_OUT_VIDEOS = 3

CARD = DatasetCard(
    name="ucf51",
    pairs=(("audio_features", "video"),),
    classes=51,
    size="6,837 clips; split 1: 4,893 for training, 1,944 for testing",
    licence="UCF101: none stated, for research; CCL's features of sound: Apache-2.0",
    citation=(
        "Soomro, Zamir, Shah, UCF101, arXiv 1212.0402; Chen, Xian, Koepke, Shan, Akata, Distilling "
        "Audio-Visual Knowledge by Compositional Contrastive Learning, CVPR 2021"
    ),
    source_url="https://www.crcv.ucf.edu/data/UCF101.php",
    files=("*audiocnn14embed512_features/*/*.npy",),
)


@register_dataset("ucf51", CARD)
def ucf51(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    split: Literal["published", "clean"] = "clean",
    fold: int = 1,
    val_videos: Sequence[int] | None = None,
    frames: int = 16,
    size: int = 112,
    channels: int = 3,
    keep_gib: float = 1.0,
) -> Splits:
    """UCF51 as three paired datasets, by class and name.

    - ``audio_features`` float32 [512]: of PANNs CNN14; those of several windows are averaged.
    - ``video`` float32 [channels, frames, size, size] from 0 to 1: frames spread evenly over the
      clip, resized to a square, decoded when a row is read.

    The group of a row is the video that its clip was cut from; the lists keep videos apart.
    With audio, the eight listed clips that have no sound are left out, as CCL does.

    Args:
        root: holds ``trainlist01.txt`` and ``testlist01.txt`` (or the folder ``ucfTrainTestlist``
            with them, or ``ucf51_01.json``), and a folder for each modality that is asked for:
            ``audiocnn14embed512_features/<Class>/<clip>.npy``, ``hdf5data/<Class>/<clip>.hdf5``.
        modalities: of "audio" and "video"; the folder of the other one is not looked at.
        split: "clean" takes the validation part from the training list, whole videos of each class.
            "published" trains on the whole list, and its validation part *is* the test part, as
            CCL and others choose their models; a warning says so.
        fold: which of the three published splits.
        val_videos: numbers (1 to 25) of the videos that the clean split holds out of each class;
            the last three of the training list when None.
        frames: frames a clip.
        size: side of a frame in pixels.
        channels: 1 for grey, 3 for RGB.
        keep_gib: decoded clips, and features, stay in memory if all fit into so many GiB each.

    Raises:
        FileNotFoundError: lists, features or videos are missing; says where they come from.
        ValueError: an option out of range, or lists that contradict themselves. A damaged file
            raises it when its row is read.
    """
    _check_options(modalities, split, fold, val_videos, frames, size, channels)
    root = Path(root).expanduser()
    clips, classes = read_index(root, fold)
    columns: dict[str, Any] = {}
    if "audio" in modalities:
        clips = [clip for clip in clips if clip.id not in SILENT]
        columns["audio_features"] = ArrayColumn(
            audio_files(root, clips),
            partial(read_features, width=AUDIO_WIDTH),
            keep_bytes=keep_gib * GIB,
        )
    if "video" in modalities:
        columns["video"] = ClipColumn(
            video_files(root, clips),
            [clip.segment for clip in clips],
            keep_bytes=keep_gib * GIB,
            frames=frames,
            size=size,
            channels=channels,
        )
    dataset = PairedDataset(
        columns,
        [classes.index(clip.label) for clip in clips],
        classes=classes,
        group=[100 * classes.index(clip.label) + clip.video for clip in clips],
        ids=[clip.id for clip in clips],
    )
    parts = _parts(clips, split, val_videos)
    return Splits(
        *(dataset.subset([at for at, part in enumerate(parts) if k in part]) for k in range(3))
    )


def _check_options(
    modalities: Sequence[str],
    split: str,
    fold: int,
    val_videos: Sequence[int] | None,
    frames: int,
    size: int,
    channels: int,
) -> None:
    if not modalities or isinstance(modalities, str) or set(modalities) - {"audio", "video"}:
        raise ValueError(f"ucf51 takes a list of 'audio' and 'video', got {modalities!r}")
    if split not in ("published", "clean") or fold not in (1, 2, 3):
        raise ValueError(
            f"split is 'published' or 'clean' and fold 1, 2 or 3, got {split!r} and {fold}"
        )
    if split == "published" and val_videos is not None:
        raise ValueError(
            f"the published split holds no videos out, got val_videos={val_videos}; pass "
            "split='clean' with them"
        )
    if min(frames, size) < 1 or channels not in (1, 3):
        raise ValueError(
            f"frames and size are 1 or more and channels 1 or 3, got {frames}, {size} and "
            f"{channels}"
        )


def _parts(
    clips: Sequence[Clip], split: str, val_videos: Sequence[int] | None
) -> list[tuple[int, ...]]:
    """For each clip the parts that it belongs to: 0 for train, 1 for val, 2 for test."""
    if split == "published":
        warnings.warn(
            "the published split of UCF51 has no validation part: val is the test part, so a model "
            "that is chosen on it looks too good; split='clean' holds training videos out",
            stacklevel=3,
        )
        return [(1, 2) if clip.test else (0,) for clip in clips]
    trained_on = sorted({clip.video for clip in clips if not clip.test})
    held_out = set(trained_on[-HELD_OUT_VIDEOS:] if val_videos is None else val_videos)
    if not held_out or held_out - set(trained_on) or held_out == set(trained_on):
        raise ValueError(
            f"val_videos are some of the training list's videos {trained_on}, not all, got "
            f"{sorted(held_out)}"
        )
    return [(2,) if clip.test else (1,) if clip.video in held_out else (0,) for clip in clips]
