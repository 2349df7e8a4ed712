"""The Gaussian study of modality focusing: two modalities that share some decisive features.

Xue, Gao, Ren, Zhao, "The Modality Focusing Hypothesis: Towards Understanding Crossmodal Knowledge
Distillation", ICLR 2023. The label says on which side of a random plane the decisive
features are. The student sees 10 of them among its 50 channels; the other channels are noise.
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
PLANE = 500  # length of the normal that the authors draw; a study uses the first part of it
TOLERANCE = 0.006  # the paper gives shares with two digits

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


@register_dataset(CARD)
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

    - ``gamma``: there are 20 decisive features. The teacher sees 10 of them among 25 channels, and
      the student sees n of these 10 as well. The shared part is n / (20 - n), from 0 to 1.
      Distillation gains more as it grows.
    - ``alpha``: there are 50 decisive features. The teacher sees the student's 10 and n more among
      50 channels. The part that it alone sees is n / (10 + n), from 0 to 0.8. The larger it is, the
      better the teacher and the smaller the gain of distillation.

    Train and test are drawn in the order and with the seeds of the authors' script and so equal its
    numbers. The validation part, which the script lacks, has a random stream of its own.

    Args:
        gamma: share that both see of the decisive features that either sees; two digits suffice.
        alpha: share that the teacher alone sees of its decisive features.
        seed: everything follows from it.
        train_rows: 200 in the paper.
        val_rows: number of validation rows.
        test_rows: 1,000 in the paper.

    Raises:
        ValueError: neither or both of gamma and alpha, or a share that no whole number of features
            gives.
    """
    if (gamma is None) == (alpha is None):
        raise ValueError(
            f"mfh_gaussian generates one of two studies: pass either gamma or alpha, got "
            f"gamma={gamma} and alpha={alpha}"
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
    """The share that each number of features gives."""
    if study == "gamma":
        return [n / (20 - n) for n in range(11)]
    return [n / (10 + n) for n in range(41)]


def _level(study: str, share: float) -> int:
    """The number of features that gives a share."""
    shares = _shares(study)
    level = min(range(len(shares)), key=lambda n: abs(shares[n] - share))
    if not abs(shares[level] - share) < TOLERANCE:  # NaN too
        raise ValueError(
            f"no whole number of features gives {study}={share}; pass one of "
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
