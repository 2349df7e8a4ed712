"""Sleep statistics of a hypnogram, as the AASM manual defines them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, REM, STAGES

UNSCORED = -1
WAKE = STAGES.index("W")


class SleepStatistics(NamedTuple):
    """What a hypnogram says of a night, in minutes and per cent; NaN where it says nothing.

    Epochs without a stage are neither sleep nor wakefulness. They count as time: for the time in
    bed, and within a latency. The values are those of `yasa.Hypnogram.sleep_statistics`, but for
    the latency to REM sleep, which the AASM counts from sleep onset and YASA from the beginning.

    Attributes:
        TIB: time in bed, from the first epoch to the last.
        TST: total sleep time.
        SE: sleep efficiency, TST / TIB.
        SOL: latency to the first epoch of any sleep; NaN without sleep.
        WASO: wakefulness between the first and the last epoch of sleep; NaN without sleep.
        REM_latency: from sleep onset to the first epoch of REM sleep; NaN without REM sleep.
        W: minutes awake in bed.
        N1: minutes of stage N1, and so on.
        N1_share: per cent of TST, and so on; NaN without sleep.
        missing: minutes without a stage.
    """

    TIB: float
    TST: float
    SE: float
    SOL: float
    WASO: float
    REM_latency: float
    W: float
    N1: float
    N2: float
    N3: float
    REM: float
    N1_share: float
    N2_share: float
    N3_share: float
    REM_share: float
    missing: float


class Measure(NamedTuple):
    """How a number of the statistics is shown.

    Attributes:
        name: of the field.
        label: for a reader.
        unit: "min" or "%".
        meaning: in one line.
    """

    name: str
    label: str
    unit: str
    meaning: str


MEASURES = (
    Measure("TIB", "Time in bed", "min", "first to last epoch of the recording"),
    Measure("TST", "Total sleep time", "min", "all epochs of sleep"),
    Measure("SE", "Sleep efficiency", "%", "total sleep time / time in bed"),
    Measure("SOL", "Sleep onset latency", "min", "from the start to the first epoch of any sleep"),
    Measure("WASO", "Wake after sleep onset", "min", "between the first and last epoch of sleep"),
    Measure("REM_latency", "REM latency", "min", "from sleep onset to the first epoch of REM"),
    Measure("W", "Wake", "min", "all epochs awake"),
    *(Measure(name, f"Stage {name}", "min", "all its epochs") for name in STAGES[1:4]),
    Measure("REM", "Stage REM", "min", "all its epochs"),
    *(
        Measure(f"{name}_share", f"Share of {name}", "%", "of total sleep time")
        for name in STAGES[1:]
    ),
    Measure("missing", "Without a stage", "min", "no film, or no stage in the reference"),
)


def sleep_statistics(stages: np.ndarray) -> SleepStatistics:
    """The statistics of a hypnogram.

    Args:
        stages: [E] positions in `STAGES`, -1 where there is none.

    Raises:
        ValueError: no epoch, or a number that is no stage.
    """
    stages = np.asarray(stages)
    if stages.ndim != 1 or not len(stages):
        raise ValueError(
            f"a hypnogram is one row of at least one epoch of {EPOCH_S} s, got shape {stages.shape}"
        )
    if stages.min() < UNSCORED or stages.max() >= len(STAGES):
        raise ValueError(
            f"stages are -1 (none) or 0 to {len(STAGES) - 1} ({', '.join(STAGES)}), got "
            f"{sorted(set(stages.tolist()))}"
        )
    per_min = 60 / EPOCH_S
    minutes = [float((stages == stage).sum()) / per_min for stage in range(len(STAGES))]
    asleep = np.flatnonzero(stages > WAKE)
    tib, tst = len(stages) / per_min, float(len(asleep)) / per_min
    onset = waso = rem_latency = float("nan")
    shares = [float("nan")] * (len(STAGES) - 1)
    if len(asleep):
        first, last = int(asleep[0]), int(asleep[-1])
        onset = first / per_min
        waso = float((stages[first : last + 1] == WAKE).sum()) / per_min
        shares = [100 * one / tst for one in minutes[1:]]
        in_rem = np.flatnonzero(stages == REM)
        rem_latency = (int(in_rem[0]) - first) / per_min if len(in_rem) else rem_latency
    missing = float((stages == UNSCORED).sum()) / per_min
    return SleepStatistics._make(
        [tib, tst, 100 * tst / tib, onset, waso, rem_latency, *minutes, *shares, missing]
    )


def differences(
    found: SleepStatistics, reference: SleepStatistics
) -> Iterator[tuple[Measure, float]]:
    """Each measure with what was found less the reference; NaN where either says nothing."""
    for measure in MEASURES:
        yield measure, getattr(found, measure.name) - getattr(reference, measure.name)
