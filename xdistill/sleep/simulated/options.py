"""What a simulated night looks like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from xdistill.data.simulation.config import SampleConfig
from xdistill.data.sleep_stages import EPOCH_S

NIGHT_EPOCHS = SampleConfig().night_epochs
"""Length of the simulated night of which a recording is a part: eight hours."""
Stretch = tuple[float, float]
"""Beginning and end in seconds since the EEG's first sample."""


@dataclass(frozen=True)
class NightOptions:
    """One simulated night. Its sleeper and hypnogram are those of the sample with the same seed.

    Raises:
        ValueError: numbers with which no night can be written.
    """

    sleeper: int = 0
    """Which sleeper of the sample, from 0."""
    seed: int = SampleConfig().seed
    """Everything follows from it."""
    hours: float = 8.0
    """Length of the EEG."""
    from_hour: float = 0.0
    """Where in the sleeper's night of eight hours the EEG begins."""
    condensed: bool = False
    """Take the epochs evenly from all eight hours, as the sample does: a short night with all
    stages. Breathing, limbs and signals still go on from epoch to epoch."""
    start: datetime = datetime(2024, 3, 9, 22, 47, 12)
    """Start of the EEG by its clock."""
    eeg_hz: int = 256
    """Rate of EEG, EOG and EMG; a multiple of 4 from 100."""
    belt: bool = True
    """Whether there is a breathing belt."""
    hypnogram: bool = True
    """Whether a hypnogram is written."""
    film: Literal["mp4", "mkv"] = "mp4"
    """Container of the film."""
    codec: Literal["libx264", "mpeg4"] = "libx264"
    """Which codec writes it."""
    width: int = 96
    """Width of the picture in pixels, even."""
    height: int = 96
    """Height of the picture in pixels, even."""
    fps: float = 5.0
    """Frames a second; the mean where the rate is variable."""
    variable_rate: bool = False
    """Frames come up to 0.3 of their interval too early or late, and one in twelve is missing."""
    film_late_s: float = 0.0
    """How long after the EEG the film begins; negative for earlier."""
    film_s: float | None = None
    """Length of the film by the EEG's clock; None until the EEG's end."""
    film_drift: float = 0.0
    """Seconds that the film's clock gains on the EEG's in each second: 1e-4 are 2.9 s in eight
    hours."""
    film_start: bool = True
    """Whether the film's metadata hold its start."""
    film_start_error_s: float = 0.0
    """How much that start is too late by the EEG's clock."""
    dark_s: Stretch | None = None
    """When the picture is black."""
    colour_s: Stretch | None = None
    """When the camera shows colours."""
    gap_s: Stretch | None = None
    """When the film has no frames."""
    flat_s: Stretch | None = None
    """When the first EEG derivation is flat."""

    def __post_init__(self) -> None:
        limits = {
            "sleeper": (0, 999_999),
            "hours": (EPOCH_S / 3600, 24),
            "from_hour": (0, 8),
            "eeg_hz": (100, 1024),
            "width": (16, 4096),
            "height": (16, 4096),
            "fps": (0.5, 120),
            "film_drift": (-0.01, 0.01),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value}")
        if self.eeg_hz % 4 or self.width % 2 or self.height % 2:
            raise ValueError(
                "eeg_hz must be a multiple of 4, width and height even, got "
                f"eeg_hz={self.eeg_hz}, width={self.width}, height={self.height}"
            )
        if not self.condensed and self.from_hour + self.hours > NIGHT_EPOCHS * EPOCH_S / 3600:
            raise ValueError(
                f"the simulated night has 8 hours, got from_hour={self.from_hour:g} and "
                f"hours={self.hours:g}; choose less, or condensed=True"
            )
        if self.film_length_s <= 0:
            raise ValueError(
                f"the film would have {self.film_length_s:g} s: it begins {self.film_late_s:g} s "
                f"after an EEG of {self.seconds} s; pass film_s, or a smaller film_late_s"
            )

    @property
    def epochs(self) -> int:
        """Epochs of the EEG."""
        return round(self.hours * 3600) // EPOCH_S

    @property
    def seconds(self) -> int:
        """Length of the EEG."""
        return self.epochs * EPOCH_S

    @property
    def film_length_s(self) -> float:
        """Length of the film by the EEG's clock."""
        return self.seconds - self.film_late_s if self.film_s is None else self.film_s
