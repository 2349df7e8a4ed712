"""How well stages agree with a scorer's, sleeper by sleeper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.sleep_stages import N1, N2, STAGES
from xdistill.metrics import Scores, score
from xdistill.sleep.report.held_out import HeldOutSleeper, limits_of_agreement
from xdistill.sleep.report.statistics import SleepStatistics, sleep_statistics

FOUR = ("W", "N1+N2", "N3", "REM")
MERGED = torch.tensor([0, 1, 1, 2, 3])
"""Class of four by class of five."""
STATISTICS = ("TST", "SE", "SOL", "WASO", "REM_latency", "W", "N1", "N2", "N3", "REM")
SCALARS = ("accuracy", "macro_f1", "kappa")


class SleeperScores(NamedTuple):
    """One held-out sleeper.

    Attributes:
        five: scores of five stages, and the statistics of the night (means over several nights).
        four: scores with N1 and N2 as one stage.
    """

    five: HeldOutSleeper
    four: Mapping[str, float]


def four_stages(probabilities: Float[Tensor, "e 5"]) -> Float[Tensor, "e 4"]:
    """Probabilities with N1 and N2 as one stage."""
    light = probabilities[:, N1] + probabilities[:, N2]
    return torch.stack(
        [probabilities[:, 0], light, probabilities[:, 3], probabilities[:, 4]], dim=1
    )


def sleeper_scores(
    found: Mapping[str, Float[Tensor, "e 5"]],
    truth: Mapping[str, np.ndarray],
    subject: Mapping[str, str],
) -> list[SleeperScores]:
    """Scores of each sleeper, over the epochs to which both give a stage.

    Statistics, too, are those of these epochs, so that a gap in the film is not taken for a fault
    of the stages; epochs left out count for the time in bed alone.

    Args:
        found: probabilities by night, NaN where none were given.
        truth: stages [E] by night, -1 where there are none.
        subject: by night.
    """
    sleepers: dict[str, list[str]] = {}
    for night in found:
        sleepers.setdefault(subject[night], []).append(night)
    results = (_sleeper(name, some, found, truth) for name, some in sorted(sleepers.items()))
    return [one for one in results if one is not None]


def _sleeper(
    name: str,
    nights: Sequence[str],
    found: Mapping[str, Tensor],
    truth: Mapping[str, np.ndarray],
) -> SleeperScores | None:
    both = {
        night: (~found[night].isnan().any(dim=1)).numpy() & (truth[night] >= 0) for night in nights
    }
    used = [night for night in nights if both[night].any()]
    if not used:
        return None
    p = torch.cat([found[night][torch.from_numpy(both[night])] for night in used])
    target = torch.from_numpy(np.concatenate([truth[night][both[night]] for night in used]))
    five = score(p.argmax(dim=1), target, len(STAGES))
    four = score(four_stages(p).argmax(dim=1), MERGED[target], len(FOUR))
    given, reference = [], []
    for night in used:
        stages = found[night].nan_to_num().argmax(dim=1).numpy()
        given.append(sleep_statistics(np.where(both[night], stages, -1)))
        reference.append(sleep_statistics(np.where(both[night], truth[night], -1)))
    sleeper = HeldOutSleeper(
        name,
        len(target),
        five.accuracy,
        five.macro_f1,
        five.kappa,
        _means(given),
        _means(reference),
    )
    return SleeperScores(sleeper, _scalars(four))


def _scalars(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in SCALARS}


def _means(nights: Sequence[SleepStatistics]) -> dict[str, float]:
    """Mean over a sleeper's nights of what each says; NaN where none does."""
    rows = np.array(nights, dtype=float)
    known = np.isfinite(rows)
    counts = known.sum(axis=0)
    sums = np.where(known, rows, 0.0).sum(axis=0)
    values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return dict(zip(SleepStatistics._fields, values.tolist(), strict=True))


def over_sleepers(sleepers: Sequence[SleeperScores]) -> dict[str, Any]:
    """Mean and standard deviation over sleepers, and the agreement of the sleep statistics.

    A sleeper who was staged by students of several seeds counts once, with the mean of these.
    """
    sleepers = _once_each(sleepers)
    columns = {"five": [one.five._asdict() for one in sleepers], "four": [s.four for s in sleepers]}
    summary: dict[str, Any] = {"sleepers": len(sleepers)}
    for kind, rows in columns.items():
        summary[kind] = {name: _spread([row[name] for row in rows]) for name in SCALARS}
    held_out = [one.five for one in sleepers]
    limits = {name: limits_of_agreement(held_out, name)._asdict() for name in STATISTICS}
    return {**summary, "statistics": limits}


def _once_each(sleepers: Sequence[SleeperScores]) -> list[SleeperScores]:
    by_name: dict[str, list[SleeperScores]] = {}
    for one in sleepers:
        by_name.setdefault(one.five.name, []).append(one)
    return [some[0] if len(some) == 1 else _mean_of(some) for some in by_name.values()]


def _mean_of(some: Sequence[SleeperScores]) -> SleeperScores:
    """The mean of several students' scores of one sleeper."""
    first = some[0].five
    five = first._replace(
        **{name: float(np.mean([getattr(one.five, name) for one in some])) for name in SCALARS},
        found=_mean_entries([one.five.found for one in some]),
    )
    return SleeperScores(five, _mean_entries([one.four for one in some]))


def _mean_entries(some: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in some])) for name in some[0]}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation of the values that are there (kappa of one stage is none)."""
    known = np.array(values, dtype=float)
    known = known[np.isfinite(known)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
    }


def held_out_entry(sleepers: Sequence[SleeperScores], judge: str) -> dict[str, Any]:
    """What config.json keeps of a student's held-out sleepers."""
    return {
        "judge": judge,
        "sleepers": [one.five._asdict() for one in sleepers],
        "four": {one.five.name: dict(one.four) for one in sleepers},
        "over_sleepers": over_sleepers(sleepers),
    }
