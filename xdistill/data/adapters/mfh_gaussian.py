"""The Gaussian study of modality focusing: two views that share a known part of what decides.

Xue, Gao, Ren, Zhao, "The Modality Focusing Hypothesis: Towards Understanding Crossmodal Knowledge
Distillation", ICLR 2023. The label is the side of a random plane on which the decisive
features lie. The student sees 10 of them among its 50 channels, and the rest is noise.
"""

from __future__ import annotations

import numpy as np
import torch

from xdistill.data.cards import DatasetCard
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

STUDENT_CHANNELS = 50
STUDENT_DECISIVE = 10
PLANE = 500  # length of the normal that the authors draw, whatever part of it a study needs
TOLERANCE = 0.006  # shares are published with two digits

CARD = DatasetCard(
    name="mfh_gaussian",
    pairs=(("teacher", "student"),),
    classes=2,
    size="200 rows for training, 200 for validation, 1,000 for testing; any number of seeds",
    licence="none needed: generated",
    citation="Xue, Gao, Ren, Zhao, The Modality Focusing Hypothesis, ICLR 2023",
    source_url="https://openreview.net/forum?id=w0QXrZ3N-s",
    files=(),
)


@register_dataset("mfh_gaussian", CARD)
def mfh_gaussian(
    *,
    gamma: float | None = None,
    alpha: float | None = None,
    seed: int = 0,
    train_rows: int = 200,
    val_rows: int = 200,
    test_rows: int = 1000,
) -> Splits:
    """Generates one of the two studies: columns ``teacher`` [25 or 50] and ``student`` [50].

    - ``gamma``: of 20 decisive features the teacher sees 10 among 25 channels, n of them the
      student's too; the share is n / (20 - n), from 0 to 1. Distillation gains as it grows.
    - ``alpha``: of 50 the teacher sees the student's 10 and n more among 50 channels; the share of
      what it alone sees is n / (10 + n), from 0 to 0.8. The teacher gets better and helps less.

    Train and test are drawn in the order and with the seeds of the authors' script, so that they
    are its numbers; the validation part, which it lacks, has a stream of its own.

    Args:
        gamma: share of the decisive features of both that both see; two digits are enough.
        alpha: share of the teacher's decisive features that it alone sees.
        seed: of the plane and all rows.
        train_rows: the authors take 200.
        val_rows: rows for the choice of a model.
        test_rows: the authors take 1,000.

    Raises:
        ValueError: not exactly one of gamma and alpha, or a share that no whole number of features
            makes.
    """
    if (gamma is None) == (alpha is None):
        raise ValueError(
            f"mfh_gaussian generates one study: pass either gamma or alpha, got gamma={gamma} and "
            f"alpha={alpha}"
        )
    if gamma is not None:
        count, channels, level = 20, 25, _level("gamma", gamma)
        held = slice(STUDENT_DECISIVE - level, 2 * STUDENT_DECISIVE - level)
    else:
        count, channels, level = 50, 50, _level("alpha", alpha or 0.0)
        held = slice(STUDENT_DECISIVE + level)
    random = np.random.RandomState(seed)
    normal = random.randn(PLANE)[:count]
    streams = {
        "train": (random, train_rows),
        "val": (np.random.RandomState([seed, 1]), val_rows),
        "test": (np.random.RandomState(seed + 1), test_rows),
    }
    parts = {
        name: _draw(name, rows, stream, normal, channels, held)
        for name, (stream, rows) in streams.items()
    }
    # Each row is a group of its own, over all parts.
    groups = torch.arange(train_rows + val_rows + test_rows).split(
        [train_rows, val_rows, test_rows]
    )
    return Splits(
        *(part.replace(group=own) for part, own in zip(parts.values(), groups, strict=True))
    )


def _shares(study: str) -> list[float]:
    """The share that each number of features makes."""
    if study == "gamma":
        return [n / (20 - n) for n in range(11)]
    return [n / (10 + n) for n in range(41)]


def _level(study: str, share: float) -> int:
    """The number of features that makes a share."""
    shares = _shares(study)
    level = min(range(len(shares)), key=lambda n: abs(shares[n] - share))
    if not abs(shares[level] - share) < TOLERANCE:  # NaN too
        raise ValueError(
            f"no whole number of features makes {study}={share}; take one of "
            f"{', '.join(f'{known:.2f}' for known in shares)}"
        )
    return level


def _draw(
    name: str,
    rows: int,
    random: np.random.RandomState,
    normal: np.ndarray,
    channels: int,
    held: slice,
) -> PairedDataset:
    decisive = random.randn(rows, len(normal))  # the order of these three draws is the authors'
    student, teacher = random.randn(rows, STUDENT_CHANNELS), random.randn(rows, channels)
    student[:, :STUDENT_DECISIVE] = decisive[:, :STUDENT_DECISIVE]
    teacher[:, held] = decisive[:, held]
    return PairedDataset(
        {
            "teacher": torch.from_numpy(teacher).float(),
            "student": torch.from_numpy(student).float(),
        },
        torch.from_numpy(decisive @ normal > 0).long(),
        classes=("below the plane", "above the plane"),
        ids=[f"{name}_{row}" for row in range(rows)],
    )
