"""UCF51: the 51 actions of UCF101 whose clips have sound, with PANNs features of that sound.

Soomro, Zamir, Shah, "UCF101" (arXiv 1212.0402): clips of some seconds, cut from 25 videos of each
class. Chen et al., "Distilling audio-visual knowledge by compositional contrastive learning" (CVPR
2021, CCL) distil a PANNs CNN14 teacher into an R(2+1)D student on split 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from xdistill.data.adapters.ucf51.index import SILENT, Clip, audio_files, read_index, video_files
from xdistill.data.cards import DatasetCard
from xdistill.data.files.clips import ClipColumn
from xdistill.data.files.panns import panns_column
from xdistill.data.options import check_frames, check_modalities, check_share
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import TEST, TRAIN, VAL, check_split, published_split
from xdistill.data.splits import Splits
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

MODALITIES = ("audio_features", "video")
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


@register_dataset(CARD)
def ucf51(
    root: str | Path,
    *,
    modalities: Sequence[str] = MODALITIES,
    split: Literal["published", "clean"] = "clean",
    fold: int = 1,
    val_videos: Sequence[int] | None = None,
    frames: int = 16,
    size: int = 112,
    channels: int = 3,
    max_lost: float = 0.0,
    keep_gib: float = 1.0,
) -> Splits:
    """UCF51 as three paired datasets, by class and name.

    - ``audio_features`` float32 [512] of PANNs CNN14; those of several windows are averaged.
    - ``video`` float32 [channels, frames, size, size] from 0 to 1: frames spread evenly over the
      clip, resized to a square, decoded when a row is read.

    The group of a row is the video that its clip was cut from; the lists keep videos apart.
    With ``audio_features``, the eight listed clips that have no sound are left out, as in CCL.

    Args:
        root: holds ``trainlist01.txt`` and ``testlist01.txt`` (or the folder ``ucfTrainTestlist``
            with them, or ``ucf51_01.json``), and a folder for each modality that is asked for:
            ``audiocnn14embed512_features/<Class>/<clip>.npy``, ``hdf5data/<Class>/<clip>.hdf5``.
        modalities: of "audio_features" and "video"; files of one that is not named are not needed.
        split: "clean" takes the validation part from the training list, whole videos of each class.
            "published" trains on the whole list, and its validation part *is* the test part, as
            in CCL and other papers, of which a warning is given.
        fold: which of the three published splits.
        val_videos: numbers (1 to 25) of the videos that the clean split holds out of each class;
            the last three of the training list when None.
        frames: frames of a clip, spread evenly.
        size: side of a frame in pixels.
        channels: 1 for grey, 3 for RGB.
        max_lost: the share of a film that may be missing from what its container promises; a
            warning says how much is, more is an error.
        keep_gib: rows of a modality stay in memory if all of them fit into this many GiB.

    Raises:
        FileNotFoundError: lists or files are missing; the message says where to get them.
        ValueError: an option is out of range, or the lists contradict themselves. A damaged file
            raises it when its row is read.
    """
    modalities = check_modalities(modalities, MODALITIES)
    check_frames(frames, size, channels)
    check_share(max_lost)
    _check_split(split, fold, val_videos)
    root = Path(root).expanduser()
    clips, classes = read_index(root, fold)
    columns: dict[str, Any] = {}
    if "audio_features" in modalities:
        clips = [clip for clip in clips if clip.id not in SILENT]
        columns["audio_features"] = panns_column(audio_files(root, clips), keep_gib)
    if "video" in modalities:
        columns["video"] = ClipColumn(
            video_files(root, clips),
            [clip.segment for clip in clips],
            keep_bytes=keep_gib * GIB,
            frames=frames,
            size=size,
            channels=channels,
            max_lost=max_lost,
        )
    dataset = PairedDataset(
        columns,
        [classes.index(clip.label) for clip in clips],
        classes=classes,
        group=[100 * classes.index(clip.label) + clip.video for clip in clips],
        ids=[clip.id for clip in clips],
    )
    part = [TEST if clip.test else TRAIN for clip in clips]
    if split == "clean":
        held_out = _held_out(clips, val_videos)
        part = [TEST if c.test else VAL if c.video in held_out else TRAIN for c in clips]
    return published_split(dataset, part, CARD.name)


def _check_split(split: str, fold: int, val_videos: Sequence[int] | None) -> None:
    check_split(split)
    if fold not in (1, 2, 3):
        raise ValueError(f"fold is 1, 2 or 3, got {fold}")
    if split == "published" and val_videos is not None:
        raise ValueError(
            f"the published split holds out no videos, got val_videos={val_videos}; pass "
            "split='clean' with them"
        )


def _held_out(clips: Sequence[Clip], val_videos: Sequence[int] | None) -> set[int]:
    """Numbers of the training list's videos that are for validation."""
    trained_on = sorted({clip.video for clip in clips if not clip.test})
    held_out = set(trained_on[-HELD_OUT_VIDEOS:] if val_videos is None else val_videos)
    if not held_out or held_out - set(trained_on) or held_out == set(trained_on):
        raise ValueError(
            f"val_videos names some but not all of the training list's videos {trained_on}, got "
            f"{sorted(held_out)}"
        )
    return held_out
