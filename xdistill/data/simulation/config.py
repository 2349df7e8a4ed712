"""The parameters of the sample of simulated sleepers, and its version."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256

VERSION = 3  # 2 had no sleepers elsewhere, 1 called REM sleep "R"


@dataclass(frozen=True)
class SampleConfig:
    """The parameters of the sample.

    Attributes:
        seed: everything follows from it.
        subjects: simulated sleepers, one night each; a fifth each is for validation and testing.
        teacher_subjects: further sleepers, elsewhere, with EEG alone.
        clips_per_night: clips of 30 s per sleeper, evenly over the night.
        night_epochs: length of the night in epochs of 30 s.
    """

    seed: int = 220805814
    subjects: int = 20
    teacher_subjects: int = 12
    clips_per_night: int = 240
    night_epochs: int = 960

    def __post_init__(self):
        if self.subjects < 3:
            raise ValueError(
                f"the S3VE sample needs at least 3 subjects, one for each subset, got "
                f"{self.subjects}"
            )
        if self.teacher_subjects < 0:
            raise ValueError(f"teacher_subjects must be 0 or more, got {self.teacher_subjects}")
        if not 1 <= self.clips_per_night <= self.night_epochs:
            raise ValueError(
                f"a night of {self.night_epochs} epochs holds 1 to {self.night_epochs} clips, got "
                f"clips_per_night={self.clips_per_night}"
            )

    @property
    def checksum(self) -> str:
        """A digest of version and parameters, which identifies the sample."""
        return sha256(json.dumps([VERSION, asdict(self)]).encode()).hexdigest()[:16]

    def subset(self, subject: int) -> str:
        """The subset of a sleeper: the last fifth is for testing, the one before for validation."""
        held_out = max(1, self.subjects // 5)
        if subject >= self.subjects - held_out:
            return "testing"
        return "validation" if subject >= self.subjects - 2 * held_out else "training"
