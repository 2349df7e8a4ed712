"""What may be wrong with an epoch: marked in the index, never dropped."""

from __future__ import annotations

from enum import StrEnum


class Mark(StrEnum):
    """One thing that is to be known about an epoch."""

    NO_VIDEO = "no_video"
    """No frame of the film lies in it."""
    VIDEO_GAP = "video_gap"
    """Frames are missing for a second or more."""
    VIDEO_DAMAGED = "video_damaged"
    """A packet or frame could not be decoded."""
    DARK = "dark"
    """The picture is black, or nearly."""
    BRIGHT = "bright"
    """The picture is saturated."""
    COLOUR = "colour"
    """The camera has switched to daylight: the picture has colours."""
    LIGHT_STEP = "light_step"
    """The whole picture has become brighter or darker at once."""
    CAMERA_MOVED = "camera_moved"
    """The camera was turned or moved."""
    NO_EEG = "no_eeg"
    """No EEG lies in it."""
    EEG_GAP = "eeg_gap"
    """A part of the EEG is missing."""
    EEG_FLAT = "eeg_flat"
    """The EEG is flat for seconds: an electrode has come off."""
    EEG_CLIPPED = "eeg_clipped"
    """The EEG stays at the amplifier's limit."""
    EEG_ARTEFACT = "eeg_artefact"
    """The EEG is larger, or faster, than brains make it."""
    UNSCORED = "unscored"
    """The scorer gave no stage, or there is no hypnogram."""
    SCORED_MOVEMENT = "scored_movement"
    """The scorer wrote movement time."""
    SCORED_ARTEFACT = "scored_artefact"
    """The scorer wrote artefact."""


def marks_text(marks: frozenset[Mark]) -> str:
    """The marks as a cell of a table: their names in the order of `Mark`, with blanks between."""
    return " ".join(mark for mark in Mark if mark in marks)


def marks_of(text: str) -> frozenset[Mark]:
    """The marks of such a cell.

    Raises:
        ValueError: a name that is no mark.
    """
    known = {str(mark) for mark in Mark}
    if unknown := sorted(set(text.split()) - known):
        raise ValueError(f"{unknown} are no marks; expected some of {sorted(known)}")
    return frozenset(Mark(name) for name in text.split())
