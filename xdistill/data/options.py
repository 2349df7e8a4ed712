"""Checks of the options that many adapters share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def check_modalities(modalities: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """The modalities asked for, each once. They are also the names of the dataset's columns.

    Raises:
        ValueError: an empty list, a string instead of a list, or an unknown name.
    """
    known = list(known)
    if isinstance(modalities, str) or not modalities or set(modalities) - set(known):
        raise ValueError(
            f"modalities is a list of one or more of {', '.join(map(repr, known))}, got "
            f"{modalities!r}"
        )
    return tuple(dict.fromkeys(modalities))


def check_frames(frames: int, size: int, channels: int) -> None:
    """Refuse a clip without frames or pixels, or with another number of channels than 1 or 3.

    Raises:
        ValueError: an option is out of range.
    """
    if min(frames, size) < 1 or channels not in (1, 3):
        raise ValueError(
            f"frames and size must be 1 or more and channels 1 or 3, got frames={frames}, "
            f"size={size} and channels={channels}"
        )


def check_share(max_lost: float) -> None:
    """Refuse a share of a file that may be missing which is no share.

    Raises:
        ValueError: it is not from 0 to 1.
    """
    if not 0 <= max_lost <= 1:
        raise ValueError(f"max_lost is a share from 0 to 1, got {max_lost}")
