"""AVE: 28 kinds of events that can be heard and seen in films of ten seconds.

Tian et al., "Audio-visual event localization in unconstrained videos", ECCV 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from xdistill.data.cards import DatasetCard
from xdistill.data.files.audio_visual.clip import AVClip
from xdistill.data.files.audio_visual.dataset import audio_visual_dataset, parts_of
from xdistill.data.files.audio_visual.folders import AVFolders
from xdistill.data.files.audio_visual.format import AVFormat
from xdistill.data.files.delimited import read_lines
from xdistill.data.files.names import check_names
from xdistill.data.published_split import check_split, published_or_clean
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

LISTS = ("trainSet.txt", "valSet.txt", "testSet.txt")
CARD = DatasetCard(
    name="ave",
    pairs=(("audio", "video"), ("video", "audio")),
    classes=28,
    size="4,143 films of ten seconds; the lists have 3,339, 402 and 402",
    licence="none stated; parts of AudioSet (CC BY 4.0), films from YouTube",
    citation="Tian, Shi, Li, Duan, Xu, Audio-Visual Event Localization in Unconstrained Videos, "
    "ECCV 2018",
    source_url="https://sites.google.com/view/audiovisualresearch",
    files=LISTS,
)
FOLDERS = AVFolders(
    sound=("Audio-1004-SE", "audio", "AVE"),
    video=("Image-01-FPS-SE", "visual", "AVE"),
    layout="<root>/{train,val,test}Set.txt (Category&id&quality&start&end) and "
    "<root>/AVE/<id>.mp4, or frames in <root>/Image-01-FPS-SE/<id>/*.jpg and sound in "
    "<root>/Audio-1004-SE/<id>.wav",
    source=CARD.source_url,
)


@register_dataset(CARD)
def ave(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    allow_missing: bool = False,
    **options: Any,
) -> Splits:
    """AVE as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video``.

    The columns are those of `xdistill.data.files.audio_visual.dataset`; a row's group is its film.
    Pickled spectrograms, which some scripts write, are not read: a pickle can run any code.

    Args:
        root: holds the three lists and the films, or frames and sound.
        split: "published" keeps the lists. "clean" leaves films out of the training part that are
            also in the test or validation part.
        allow_missing: leave out clips without files, with a warning; films vanish from YouTube.
        **options: of `xdistill.data.files.audio_visual.format.AVFormat`; sound of ten seconds.

    Raises:
        FileNotFoundError: a list or a file is missing; the message says where to get it.
        ValueError: an option is out of range, or a line of a list is malformed.
    """
    check_split(split)
    form = AVFormat(**{"seconds": 10.0, **options})
    root = Path(root).expanduser()
    clips = [clip for part, name in enumerate(LISTS) for clip in _read_list(root / name, part)]
    classes = tuple(sorted({clip.label for clip in clips}))
    dataset = audio_visual_dataset(root, clips, classes, FOLDERS, form, allow_missing=allow_missing)
    return published_or_clean(dataset, parts_of(dataset, clips), CARD.name, split)


def _read_list(path: Path, part: int) -> list[AVClip]:
    clips = []
    lines = read_lines(path, FOLDERS.layout, FOLDERS.source, delimiter="&")
    check_names(["&".join(line) for line in lines], path)
    for at, line in enumerate(lines):
        if line[0] == "Category":  # a header
            continue
        if len(line) != 5 or not line[0].strip() or not line[1].strip():
            raise ValueError(
                f"{path} has the line {'&'.join(line)!r}, expected Category&id&quality&start&end"
            )
        # A film may be listed with several events, so the line's number is part of the row's id.
        clips.append(AVClip(f"{path.stem}/{at}/{line[1]}", line[0], line[1], line[1], part))
    return clips
