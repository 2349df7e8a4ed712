"""Kinetics-Sounds: the actions of Kinetics that can be heard as well as seen.

Arandjelovic, Zisserman, "Look, listen and learn", ICCV 2017, chose 34 classes of Kinetics; 31 of
them are left in today's Kinetics-400. The lists are those of Peng et al., OGM-GE, CVPR 2022.
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
from xdistill.data.published_split import TEST, TRAIN, check_split, published_or_clean
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

LISTS = {TRAIN: "my_train.txt", TEST: "my_test.txt"}
CARD = DatasetCard(
    name="kinetics_sounds",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=31,
    size="about 17,000 clips of ten seconds",
    licence="Kinetics' lists: CC BY 4.0; films from YouTube",
    citation="Arandjelovic, Zisserman, Look, Listen and Learn, ICCV 2017; Kay et al., The Kinetics "
    "Human Action Video Dataset, arXiv 1705.06950",
    source_url="https://github.com/cvdfoundation/kinetics-dataset",
    files=tuple(LISTS.values()),
)
FOLDERS = AVFolders(
    sound=("train/{}", "test/{}", "audio", "train", "test"),
    video=("train", "test", "visual"),
    layout="<root>/{my_train,my_test}.txt (<id>_<start>,10,<class>), and "
    "<root>/train/<id>_<start>/ with frames *.jpg and <id>_<start>.wav, or <root>/visual and "
    "<root>/audio",
    source=f"{CARD.source_url}, the lists at https://github.com/GeWu-Lab/OGM-GE_CVPR2022",
)


@register_dataset(CARD)
def kinetics_sounds(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    allow_missing: bool = False,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """Kinetics-Sounds as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video``.

    The columns are those of `xdistill.data.files.audio_visual.dataset`; a row's group is the film
    on YouTube that it was cut from. Classes have the numbers of the lists as names.

    Args:
        root: holds the two lists and, for each clip, frames and sound.
        split: "clean" holds out 15 % of the training films for validation, and leaves films out of
            the training part that are also tested. "published" keeps the lists: the validation part
            *is* the test part, of which a warning is given.
        allow_missing: leave out clips without files, with a warning; films vanish from YouTube.
        seed: decides which films are held out.
        **options: of `xdistill.data.files.audio_visual.format.AVFormat`; sound of ten seconds.

    Raises:
        FileNotFoundError: a list or a file is missing; the message says where to get it.
        ValueError: an option is out of range, or a line of a list is malformed.
    """
    check_split(split)
    form = AVFormat(**{"seconds": 10.0, **options})
    root = Path(root).expanduser()
    clips = [clip for part, name in LISTS.items() for clip in _read_list(root / name, part)]
    check_unique(clips, f"{root}/{' or '.join(LISTS.values())}")
    classes = tuple(sorted({clip.label for clip in clips}, key=int))
    dataset = audio_visual_dataset(root, clips, classes, FOLDERS, form, allow_missing=allow_missing)
    return published_or_clean(dataset, parts_of(dataset, clips), CARD.name, split, seed)


def _read_list(path: Path, part: int) -> list[AVClip]:
    clips = []
    for line in read_lines(path, FOLDERS.layout, FOLDERS.source):
        name = line[0].strip()
        film, _, start = name.rpartition("_")
        if len(line) != 3 or not film or not start.isdigit() or not line[2].strip().isdigit():
            raise ValueError(
                f"{path} has the line {','.join(line)!r}, expected <id>_<start>,10,<class>, as in "
                "abcdefghijk_12,10,7"
            )
        clips.append(AVClip(name, str(int(line[2])), film, name, part))
    return clips
