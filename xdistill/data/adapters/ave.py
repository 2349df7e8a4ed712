"""AVE: 28 kinds of events that are heard and seen in films of ten seconds.

Tian et al., "Audio-visual event localization in unconstrained videos", ECCV 2018.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from xdistill.data.cards import DatasetCard
from xdistill.data.files.audio_frames import (
    AVClip,
    AVFolders,
    AVFormat,
    audio_frames,
    check_split,
    read_lines,
    split_clips,
)
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


@register_dataset("ave", CARD)
def ave(
    root: str | Path,
    *,
    split: Literal["published", "clean"] = "clean",
    allow_missing: bool = False,
    **options: Any,
) -> Splits:
    """AVE as three paired datasets: ``audio`` [mels, frames of 10 ms] and ``video``.

    The columns are those of `files.audio_frames.audio_frames`; a row's group is its film.
    Pickled spectrograms, which some scripts leave, are not read: a pickle can run any code.

    Args:
        root: holds the three lists and the films, or frames and sound.
        split: "published" keeps the lists. "clean" leaves films out of training that are also
            tested or validated.
        allow_missing: leave clips without files out, with a warning, as films vanish from YouTube.
        **options: of `files.audio_frames.AVFormat`; the sound is ten seconds long.

    Raises:
        FileNotFoundError: a list or files are missing; says where they come from.
        ValueError: an option out of range, or a line that is none of the list.
    """
    check_split(split)
    form = AVFormat(**{"seconds": 10.0, **options})
    root = Path(root).expanduser()
    clips = [clip for part, name in enumerate(LISTS) for clip in _read_list(root / name, part)]
    classes = tuple(sorted({clip.label for clip in clips}))
    dataset = audio_frames(root, clips, classes, FOLDERS, form, allow_missing=allow_missing)
    return split_clips(dataset, clips, "ave", split)


def _read_list(path: Path, part: int) -> list[AVClip]:
    clips = []
    for at, line in enumerate(read_lines(path, FOLDERS.layout, FOLDERS.source, delimiter="&")):
        if line[0] == "Category":  # a header
            continue
        if len(line) != 5 or not line[0] or not line[1]:
            raise ValueError(
                f"{path} has the line {'&'.join(line)!r}, expected Category&id&quality&start&end"
            )
        # A film may be listed with several events, so the row's place is part of its name.
        clips.append(AVClip(f"{path.stem}/{at}/{line[1]}", line[0], line[1], line[1], part))
    return clips
