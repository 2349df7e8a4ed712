"""One clip of sound and frames, as a list names it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class AVClip(NamedTuple):
    """One clip.

    Attributes:
        id: name of the row.
        label: name of the class.
        group: what a split must not divide: the actor, or the film that the clip was cut from.
        file: name of its files, without suffix.
        part: in the published split, as `xdistill.data.published_split` numbers the parts.
    """

    id: str
    label: str
    group: str
    file: str
    part: int


def check_unique(clips: Sequence[AVClip], name: str) -> None:
    """Refuse a clip that is listed twice.

    Raises:
        ValueError: the message names the clip.
    """
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise ValueError(f"the lists of {name} name {clip.id} more than once; copy them again")
        seen.add(clip.id)
