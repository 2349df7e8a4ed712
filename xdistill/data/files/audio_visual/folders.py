"""Where the files of clips may be, and which clips have them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xdistill.data.files.audio_visual.clip import AVClip
from xdistill.data.files.names import inside


@dataclass(frozen=True)
class AVFolders:
    """Where the files of a data set may be, below its root.

    Attributes:
        sound: folders of sound files, or of films.
        video: folders of frames, or of films.
        layout: in words, for messages.
        source: where its owners distribute it.
    """

    sound: Sequence[str]
    video: Sequence[str]
    layout: str
    source: str


def first_file(
    root: Path, folders: Sequence[str], find: Callable[[Path, str], Path | None], name: str
) -> Path | None:
    """The clip's file in the first folder that has one; "{}" in a folder means its name."""
    inside(root, name)  # before a folder's name is made of it
    found = (find(root / folder.replace("{}", name), name) for folder in folders)
    return next((path for path in found if path is not None), None)


def rows_present(
    clips: Sequence[AVClip],
    found: Mapping[str, Sequence[Path | None]],
    folders: AVFolders,
    *,
    allow_missing: bool | None,
) -> list[int]:
    """Positions of the clips that have a file of every modality.

    Args:
        clips: those of the lists.
        found: for each modality the file of each clip, None where there is none.
        folders: for the message.
        allow_missing: leave out the other clips, with a warning; None if the data set's adapter has
            no such option.

    Raises:
        FileNotFoundError: a clip lacks a file and `allow_missing` is not True, or all clips do.
    """
    here = [at for at in range(len(clips)) if all(files[at] for files in found.values())]
    lost = [clips[at] for at in sorted(set(range(len(clips))) - set(here))]
    if lost and (not allow_missing or not here):
        offered = here and allow_missing is not None
        advice = "; allow_missing=True leaves such clips out" if offered else ""
        raise FileNotFoundError(
            f"{len(lost)} of {len(clips)} clips lack {' or '.join(found)} (first: {lost[0].file}); "
            f"the layout is {folders.layout}, distributed at {folders.source}{advice}"
        )
    if lost:
        warnings.warn(
            f"{len(lost)} of {len(clips)} clips are left out because they lack "
            f"{' or '.join(found)} (first: {lost[0].file}); results differ from those on all clips",
            stacklevel=5,
        )
    return here
