"""The numbers that say what a sleeper's body did in an epoch."""

from __future__ import annotations

from typing import NamedTuple


class BodyFeatures(NamedTuple):
    """What a camera tells of a body in 30 s.

    Attributes:
        activity: mean change from sample to sample beyond the sensor's noise, in thousandths of
            the picture's contrast (standard deviation).
        position_changes: how often the body lay differently after a movement than before.
        breathing_rate: breaths a minute; NaN where the quality is too low.
        breathing_regularity: 1 for breaths of equal length, less by the spread of their lengths
            (standard deviation / mean); NaN where the quality is too low.
        breathing_amplitude: from trough to crest of the breathing waveform, in thousandths of the
            picture's contrast; NaN where the quality is too low.
        breathing_quality: 0 to 1, how much of what moves slowly moves as one, in the part of the
            epoch without movement, gaps and steps of light.
    """

    activity: float
    position_changes: int
    breathing_rate: float
    breathing_regularity: float
    breathing_amplitude: float
    breathing_quality: float


BODY_FEATURES = BodyFeatures._fields
