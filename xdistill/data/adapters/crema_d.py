"""CREMA-D: six emotions in the voices and faces of 91 actors.

Cao et al., "CREMA-D: crowd-sourced emotional multimodal actors dataset", IEEE Transactions on
Affective Computing 5(4), 2014. The split that cross-modal papers use (Peng et al., OGM-GE, CVPR
2022; Huo et al., C2KD, CVPR 2024) has every actor in both parts and no validation part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from xdistill.data.cards import DatasetCard
from xdistill.data.files.audio_visual.clip import AVClip, check_unique
from xdistill.data.files.audio_visual.dataset import audio_visual_dataset, parts_of
from xdistill.data.files.audio_visual.folders import AVFolders
from xdistill.data.files.audio_visual.format import AVFormat
from xdistill.data.files.delimited import read_lines
from xdistill.data.published_split import TEST, TRAIN, check_split, published_split
from xdistill.data.splits import Splits, fold_groups, split_groups
from xdistill.registry import register_dataset

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
CARD = DatasetCard(
    name="crema_d",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=len(EMOTIONS),
    size="7,442 clips of 91 actors; the lists have 6,698 for training and 744 for testing",
    licence="Open Database License 1.0, its contents Database Contents License 1.0",
    citation="Cao, Cooper, Keutmann, Gur, Nenkova, Verma, CREMA-D, IEEE Trans Affective Computing "
    "5(4):377-390, 2014",
    source_url="https://github.com/CheyneyComputerScience/CREMA-D",
    files=("train.csv", "test.csv", "AudioWAV/*.wav"),
)
FOLDERS = AVFolders(
    sound=("AudioWAV", "audio"),
    video=("Image-01-FPS", "visual", "VideoFlash"),
    layout="<root>/{train,test}.csv (clip,emotion), <root>/AudioWAV/<clip>.wav and "
    "<root>/Image-01-FPS/<clip>/*.jpg (or the films in <root>/VideoFlash/<clip>.flv)",
    source=f"{CARD.source_url}, the lists at https://github.com/GeWu-Lab/OGM-GE_CVPR2022",
)


@register_dataset(CARD)
def crema_d(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    folds: int = 5,
    fold: int = 0,
    **options: Any,
) -> Splits:
    """CREMA-D as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video`` (faces).

    The columns are those of `xdistill.data.files.audio_visual.dataset`; a row's group is its actor.

    Args:
        root: holds ``train.csv`` and ``test.csv``, ``AudioWAV`` and ``Image-01-FPS``.
        split: "clean" divides the actors of both lists into folds (`fold_groups`), so that no actor
            is in two parts. "published" keeps the lists: every actor is in both, and the validation
            part *is* the test part, of which a warning is given.
        folds: number of folds of "clean".
        fold: which one is for testing, from 0.
        **options: of `xdistill.data.files.audio_visual.format.AVFormat`.

    Raises:
        FileNotFoundError: a list or a file is missing; the message says where to get it.
        ValueError: an option is out of range, or a line of a list is malformed.
    """
    check_split(split)
    form = AVFormat(**options)
    root = Path(root).expanduser()
    clips = [clip for part in (TRAIN, TEST) for clip in _read_list(root, part)]
    check_unique(clips, f"{root}/train.csv or test.csv")
    dataset = audio_visual_dataset(root, clips, EMOTIONS, FOLDERS, form, allow_missing=None)
    if split == "published":
        return published_split(dataset, parts_of(dataset, clips), CARD.name)
    actors = sorted(set(dataset.group.tolist()))
    return split_groups(dataset, **fold_groups(actors, folds=folds, fold=fold))


def _read_list(root: Path, part: int) -> list[AVClip]:
    path = root / ("train.csv" if part == TRAIN else "test.csv")
    clips = []
    for line in read_lines(path, FOLDERS.layout, FOLDERS.source):
        name = line[0].strip()
        actor, _, rest = name.partition("_")
        if len(line) != 2 or line[1].strip() not in EMOTIONS or not actor.isdigit() or not rest:
            raise ValueError(
                f"{path} has the line {','.join(line)!r}, expected a clip and one of "
                f"{', '.join(EMOTIONS)}, as in 1001_DFA_ANG_XX,ANG"
            )
        clips.append(AVClip(name, line[1].strip(), actor, name, part))
    return clips
