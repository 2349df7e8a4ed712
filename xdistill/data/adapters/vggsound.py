"""VGGSound, whole or in part: films of ten seconds whose sound has a visible source.

Chen et al., "VGGSound: a large-scale audio-visual dataset", ICASSP 2020: 309 classes. Huo et al.
(C2KD, CVPR 2024) take 50 of them.
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

CARD = DatasetCard(
    name="vggsound",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=309,
    size="about 200,000 films of ten seconds; subsets of 50, 100 and 141 classes are in use",
    licence="the lists: CC BY 4.0; films from YouTube",
    citation="Chen, Xie, Vedaldi, Zisserman, VGGSound, ICASSP 2020",
    source_url="https://www.robots.ox.ac.uk/~vgg/data/vggsound/",
    files=("train_tiny.csv", "test_tiny.csv"),
)
FOLDERS = AVFolders(
    sound=(
        *(f"{part}-audios/{part}-set" for part in ("train", "test")),
        "audio",
        *("train", "test", "video"),
    ),
    video=(
        *(f"{part}-videos/{part}-set-img/Image-01-FPS" for part in ("train", "test")),
        "visual",
        *("train", "test", "video"),
    ),
    layout="<root>/{train,test}_tiny.csv (id,start,class) or <root>/vggsound.csv (and its part "
    "as a fourth column), <root>/train-audios/train-set/<id>_<start in six digits>.wav and "
    "<root>/train-videos/train-set-img/Image-01-FPS/<id>_<start in six digits>.mp4/*.jpg, or films "
    "in <root>/video",
    source=CARD.source_url,
)


@register_dataset(CARD)
def vggsound(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    allow_missing: bool = False,
    seed: int = 0,
    **options: Any,
) -> Splits:
    """VGGSound as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video``.

    The classes are those of the lists, so a subset is a shorter list. The columns are those of
    `xdistill.data.files.audio_visual.dataset`; a row's group is the film on YouTube.

    Args:
        root: holds ``train_tiny.csv`` and ``test_tiny.csv`` (as in C2KD), or ``train.csv``
            and ``test.csv``, or ``vggsound.csv``, and the frames and sound, or films, of each clip.
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
    clips = _read_lists(root)
    check_unique(clips, f"{root}/train.csv, test.csv or vggsound.csv")
    classes = tuple(sorted({clip.label for clip in clips}))
    dataset = audio_visual_dataset(root, clips, classes, FOLDERS, form, allow_missing=allow_missing)
    return published_or_clean(dataset, parts_of(dataset, clips), CARD.name, split, seed)


def _read_lists(root: Path) -> list[AVClip]:
    whole = root / "vggsound.csv"
    if whole.is_file():
        return [_clip(line, whole) for line in read_lines(whole, FOLDERS.layout, FOLDERS.source)]
    ending = "" if (root / "train.csv").is_file() else "_tiny"
    return [
        _clip([*line[:3], part], path)
        for part in ("train", "test")
        for path in [root / f"{part}{ending}.csv"]
        for line in read_lines(path, FOLDERS.layout, FOLDERS.source)
    ]


def _clip(line: list[str], path: Path) -> AVClip:
    if len(line) != 4 or not line[1].strip().isdigit() or line[3] not in ("train", "test"):
        raise ValueError(
            f"{path} has the line {','.join(line)!r}, expected id,start,class, and train or test "
            "in vggsound.csv"
        )
    film, start, label = (field.strip() for field in line[:3])
    name = f"{film}_{int(start):06d}"
    return AVClip(name, label, film, name, TRAIN if line[3] == "train" else TEST)
