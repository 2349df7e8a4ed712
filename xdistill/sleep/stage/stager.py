"""What stages a night: a student of a run, or one that was exported, behind the same few calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from xdistill.data.sleep_stages import STAGES, stage_of
from xdistill.sleep.report.student import StudentFacts
from xdistill.sleep.video_options import VideoOptions


class Stager(Protocol):
    """A student and its context over the night.

    Attributes:
        facts: for the reader of a report.
        preprocessing: how a film becomes what it sees.
        modalities: what it reads of an epoch: "video", "body", or both.
        causal: a decision uses no later epoch.
    """

    facts: StudentFacts
    preprocessing: VideoOptions
    modalities: tuple[str, ...]
    causal: bool

    def embed(self, clips: np.ndarray, bodies: np.ndarray) -> np.ndarray:
        """What `stage` takes of epochs, float32 [B, R].

        Args:
            clips: uint8 [B, T, S, S].
            bodies: float32 [B, C, L].
        """
        ...

    def stage(self, rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Probabilities float32 [E, 5] in the order of `STAGES`, NaN where not valid.

        Args:
            rows: [E, R] of a night's epochs in order; zeros where not valid.
            valid: bool [E] which epochs were seen.
        """
        ...


def clips_as_input(clips: np.ndarray) -> np.ndarray:
    """Clips as students see them: float32 [B, 1, T, S, S] from 0 to 1."""
    return clips[:, None].astype(np.float32) / 255


def columns_of(classes: Sequence[str]) -> list[int]:
    """Where each of `STAGES` is among a student's classes.

    Raises:
        ValueError: the classes are not the five stages.
    """
    try:
        stages = [stage_of(name) for name in classes]
    except ValueError:
        stages = []
    if sorted(str(one) for one in stages) != [str(one) for one in range(len(STAGES))]:
        raise ValueError(
            f"the student tells {', '.join(classes)} apart; a night is staged by one that tells "
            f"{', '.join(STAGES)}"
        )
    return [stages.index(one) for one in range(len(STAGES))]
