"""CREMA-D: six emotions, spoken by 91 actors who are heard and seen.

Cao et al., "CREMA-D: crowd-sourced emotional multimodal actors dataset", IEEE Transactions on
Affective Computing 5(4), 2014. The split that cross-modal papers use (Peng et al., OGM-GE, CVPR
2022; Huo et al., C2KD, CVPR 2024) has every actor in both parts and no validation part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from xdistill.data.cards import DatasetCard
from xdistill.data.files.audio_frames import (
    TEST,
    TRAIN,
    AVClip,
    AVFolders,
    AVFormat,
    audio_frames,
    check_split,
    check_unique,
    published_parts,
    read_lines,
)
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


@register_dataset("crema_d", CARD)
def crema_d(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    folds: int = 5,
    fold: int = 0,
    **options: Any,
) -> Splits:
    """CREMA-D as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video`` (faces).

    The columns are those of `files.audio_frames.audio_frames`; a row's group is its actor.

    Args:
        root: holds ``train.csv`` and ``test.csv``, ``AudioWAV`` and ``Image-01-FPS``.
        split: "clean" deals the actors of both lists into folds (`fold_groups`), so that no actor
            is in two parts. "published" keeps the lists: every actor is in both, and the validation
            part *is* the test part; a warning says so.
        folds: number of folds of "clean".
        fold: which one is for testing, from 0.
        **options: of `files.audio_frames.AVFormat`: modalities, seconds (3), mels (64),
            rate_hz (16000), frames (4), size (112), channels (3), keep_gib (1).

    Raises:
        FileNotFoundError: a list, sound or frames are missing; says where they come from.
        ValueError: an option out of range, or a line that is none of the list.
    """
    check_split(split)
    form = AVFormat(**options)
    root = Path(root).expanduser()
    clips = [clip for part in (TRAIN, TEST) for clip in _read_list(root, part)]
    check_unique(clips, "crema_d")
    dataset = audio_frames(root, clips, EMOTIONS, FOLDERS, form, allow_missing=False)
    if split == "published":
        return published_parts(dataset, clips, "crema_d")
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
