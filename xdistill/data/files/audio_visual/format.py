"""What a row of sound and frames looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdistill.data.options import check_frames, check_modalities, check_share


@dataclass(frozen=True)
class AVFormat:
    """Options of a row.

    Attributes:
        modalities: of "audio" and "video"; files of a modality that is not named are not needed.
        seconds: length of the sound; cut at its end, or padded with silence.
        rate_hz: samples a second before the mel bands.
        mels: number of mel bands.
        frames: frames of a clip, spread evenly.
        size: side of a frame in pixels.
        channels: 1 for grey, 3 for RGB.
        max_lost: the share of a film or sound that may be missing from what its header promises; a
            warning says how much is, more is an error.
        keep_gib: rows of a modality stay in memory if all of them fit into this many GiB.

    Raises:
        ValueError: an option is out of range.
    """

    modalities: Sequence[str] = ("audio", "video")
    seconds: float = 3.0
    rate_hz: int = 16_000
    mels: int = 64
    frames: int = 4
    size: int = 112
    channels: int = 3
    max_lost: float = 0.0
    keep_gib: float = 1.0

    def __post_init__(self):
        check_modalities(self.modalities, ("audio", "video"))
        check_frames(self.frames, self.size, self.channels)
        check_share(self.max_lost)
        if min(self.rate_hz, self.mels) < 1 or not 0 < self.seconds < float("inf"):
            raise ValueError(
                f"rate_hz and mels must be 1 or more and seconds above 0, got rate_hz="
                f"{self.rate_hz}, mels={self.mels} and seconds={self.seconds}"
            )
