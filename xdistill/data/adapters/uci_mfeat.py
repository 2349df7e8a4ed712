"""UCI multiple features: 2,000 handwritten numerals with six sets of features each.

Duin, "Multiple Features", UCI Machine Learning Repository, doi:10.24432/C5HC70. The numerals come
from Dutch utility maps. Their writers are not published, so no split can keep writers apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from xdistill.data.cards import DatasetCard
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

FEATURES = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
"""Number of features in each set: profile correlations, Fourier coefficients of the shape,
Karhunen-Loève coefficients, morphological features, averages of 2 x 3 pixels, Zernike moments."""
ROWS = 2000
DIGITS = tuple(map(str, range(10)))
SOURCE = (
    "Multiple Features is distributed at https://archive.ics.uci.edu/dataset/72/multiple+features; "
    "the layout is <root>/mfeat-fac, mfeat-fou and so on, numbers separated by spaces, 200 rows of "
    "each digit in turn; or <root>/mfeat-fac.csv with a line of names and the digit in the last "
    "column"
)

CARD = DatasetCard(
    name="uci_mfeat",
    pairs=tuple(permutations(FEATURES, 2)),
    classes=10,
    size="2,000 numerals, 200 of each digit",
    licence="CC BY 4.0",
    citation="Duin, Multiple Features, UCI Machine Learning Repository, doi:10.24432/C5HC70",
    source_url="https://archive.ics.uci.edu/dataset/72/multiple+features",
    files=("mfeat-*",),
)


@register_dataset(CARD)
def uci_mfeat(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("fac", "mor"),
    folds: int = 5,
    fold: int = 0,
    standardise: bool = True,
    seed: int = 0,
) -> Splits:
    """Sets of features of the same numerals, a float32 column [features] for each.

    No split is published. The rows of each digit are shuffled by the seed and divided into
    ``folds`` parts. Fold ``fold`` is for testing, the next one (cyclic) for validation, and the
    others are for training. With five folds that is 1,200, 400 and 400 rows, as many of each digit,
    and the five values of ``fold`` test every numeral once.

    Each feature is standardised to mean 0 and variance 1 over the training part; one that is
    constant there is only centred.

    Args:
        root: the folder of the files.
        modalities: of "fac", "fou", "kar", "mor", "pix" and "zer" (see `FEATURES`).
        folds: number of folds, 3 or more.
        fold: which one is for testing, from 0.
        standardise: False leaves the features as they are.
        seed: decides the folds.

    Raises:
        FileNotFoundError: a file is missing; the message says where to get the data.
        ValueError: an unknown set of features, a fold out of range, or a file that is damaged or
            has another number of rows or columns.
    """
    names = check_modalities(modalities, FEATURES)
    if not 3 <= folds <= ROWS // 10 or not 0 <= fold < folds:
        raise ValueError(
            f"folds must be from 3 (train, val, test) to {ROWS // 10} and fold from 0 to "
            f"folds - 1, got folds={folds} and fold={fold}"
        )
    digits = torch.arange(10).repeat_interleave(ROWS // 10)
    tables = {name: read_features(Path(root).expanduser(), name) for name in names}
    fold_of = _folds(digits, folds, seed)
    test, val = fold_of == fold, fold_of == (fold + 1) % folds
    train = ~(test | val)
    if standardise:
        tables = {name: _standardise(table, train) for name, table in tables.items()}
    dataset = PairedDataset(
        {name: table.float() for name, table in tables.items()},
        digits,
        classes=DIGITS,
        ids=[f"{digit}_{place}" for digit in DIGITS for place in range(ROWS // 10)],
    )
    return Splits(*(dataset.subset(part) for part in (train, val, test)))


def read_features(root: Path, name: str) -> Float64[Tensor, "2000 f"]:
    """One set of features as it is in its file, 200 rows of each digit in turn.

    Raises:
        FileNotFoundError: neither ``mfeat-<name>`` nor ``mfeat-<name>.csv`` is there.
        ValueError: a damaged file, other numbers of rows or columns, NaN, or a csv whose digits
            are not in blocks of 200.
    """
    path = root / f"mfeat-{name}"
    labelled = not path.is_file()
    if labelled:
        path = path.with_name(f"{path.name}.csv")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, and so is {path.stem}. {SOURCE}")
    try:
        options = {"delimiter": ",", "skiprows": 1} if labelled else {}
        table = np.loadtxt(path, ndmin=2, **options)
    except Exception as error:  # a line that is cut, text among the numbers, another encoding
        raise ValueError(
            f"{path} cannot be read as a table of numbers ({type(error).__name__}: {error}); it "
            "may be truncated: copy it again"
        ) from error
    expected = (ROWS, FEATURES[name] + labelled)
    if table.shape != expected or not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).sum())
        raise ValueError(
            f"{path} has shape {table.shape}, expected {expected}, and {bad} values that are NaN "
            "or infinite, expected none; copy it again"
        )
    if labelled and not np.array_equal(table[:, -1], np.arange(10).repeat(ROWS // 10)):
        raise ValueError(
            f"{path}: the last column is not 200 times each digit from 0 to 9 in turn, so its rows "
            "do not match those of the other files; copy it again"
        )
    return torch.from_numpy(table[:, : FEATURES[name]].copy())


def _folds(digits: Int64[Tensor, " n"], folds: int, seed: int) -> Int64[Tensor, " n"]:
    """The fold of each row; the rows of a digit are spread evenly over the folds."""
    generator = torch.Generator().manual_seed(seed)
    fold_of = torch.empty_like(digits)
    for digit in range(10):
        rows = (digits == digit).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        fold_of[rows[order]] = torch.arange(len(rows)) % folds
    return fold_of


def _standardise(
    table: Float64[Tensor, "n f"], train: Bool[Tensor, " n"]
) -> Float64[Tensor, "n f"]:
    mean, spread = table[train].mean(dim=0), table[train].std(dim=0, correction=0)
    constant = (table[train] == table[train][0]).all(dim=0)
    return (table - mean) / torch.where(constant, 1.0, spread)
