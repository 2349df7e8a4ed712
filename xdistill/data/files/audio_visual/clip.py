"""One clip of sound and frames, as a list names it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xdistill.data.files.names import check_names


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


def check_unique(clips: Sequence[AVClip], where: object) -> None:
    """Refuse a clip that is listed twice, or lacks a name, class or group.

    Raises:
        ValueError: the message names the clip.
    """
    check_names([clip.id for clip in clips], where)
    nameless = [clip.id for clip in clips if not clip.label.strip() or not clip.group.strip()]
    if nameless:
        raise ValueError(f"{where} has {nameless[0]!r} without a class or a film")
