"""UCI multiple features: 2,000 handwritten numerals, each described by six sets of features.

Duin, "Multiple Features", UCI Machine Learning Repository, doi:10.24432/C5HC70. The numerals come
from Dutch utility maps; who wrote one is not published, so no split can keep writers apart.
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
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits
from xdistill.registry import register_dataset

VIEWS = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
"""Number of features: profile correlations, Fourier coefficients of the shape, Karhunen-Loève
coefficients, morphological features, averages of 2 x 3 pixels, Zernike moments."""
ROWS = 2000
DIGITS = tuple(map(str, range(10)))
SOURCE = (
    "Multiple Features is distributed at https://archive.ics.uci.edu/dataset/72/multiple+features; "
    "the layout is <root>/mfeat-fac and its like, numbers between spaces, 200 rows of each digit "
    "in turn; or <root>/mfeat-fac.csv with a line of names and the digit in the last column"
)

CARD = DatasetCard(
    name="uci_mfeat",
    pairs=tuple(permutations(VIEWS, 2)),
    classes=10,
    size="2,000 numerals, 200 of each digit",
    licence="CC BY 4.0",
    citation="Duin, Multiple Features, UCI Machine Learning Repository, doi:10.24432/C5HC70",
    source_url="https://archive.ics.uci.edu/dataset/72/multiple+features",
    files=("mfeat-*",),
)


@register_dataset("uci_mfeat", CARD)
def uci_mfeat(
    root: str | Path,
    *,
    views: Sequence[str] = ("fac", "mor"),
    folds: int = 5,
    fold: int = 0,
    standardise: bool = True,
    seed: int = 0,
) -> Splits:
    """Views of the same numerals: a float32 column [features] for each, under the view's name.

    No split is published. Within each digit the rows are shuffled by the seed and dealt into
    ``folds`` parts; fold ``fold`` is for testing, the next one (cyclic) for validation, the others
    for training. With five folds that is 1,200, 400 and 400 rows, as many of each digit, and the
    five values of ``fold`` test every numeral once.

    Each feature is brought to mean 0 and variance 1 over the training part alone; one that is
    constant there is only centred.

    Args:
        root: the folder of the files.
        views: of "fac", "fou", "kar", "mor", "pix" and "zer" (see `VIEWS`), in any order.
        folds: 3 or more.
        fold: which one is tested, from 0.
        standardise: False leaves the features as they are.
        seed: of the folds.

    Raises:
        FileNotFoundError: a view's file is missing; says where the data come from.
        ValueError: an unknown view, a fold out of range, or a file that is damaged or has another
            number of rows or columns than it should.
    """
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views or isinstance(views, str):
        raise ValueError(f"uci_mfeat takes a list of the views {list(VIEWS)}, got {views!r}")
    if not 3 <= folds <= ROWS // 10 or not 0 <= fold < folds:
        raise ValueError(
            f"folds is 3 (train, val, test) to {ROWS // 10} and fold from 0 to folds - 1, got "
            f"folds={folds} and fold={fold}"
        )
    digits = torch.arange(10).repeat_interleave(ROWS // 10)
    tables = {view: read_view(Path(root).expanduser(), view) for view in views}
    dealt = _deal(digits, folds, seed)
    test, val = dealt == fold, dealt == (fold + 1) % folds
    train = ~(test | val)
    if standardise:
        tables = {view: _standardise(table, train) for view, table in tables.items()}
    dataset = PairedDataset(
        {view: table.float() for view, table in tables.items()},
        digits,
        classes=DIGITS,
        ids=[f"{digit}_{place}" for digit in DIGITS for place in range(ROWS // 10)],
    )
    return Splits(*(dataset.subset(part) for part in (train, val, test)))


def read_view(root: Path, view: str) -> Float64[Tensor, "2000 f"]:
    """The features of a view as they are in its file, 200 rows of each digit in turn.

    Raises:
        FileNotFoundError: neither ``mfeat-<view>`` nor ``mfeat-<view>.csv``.
        ValueError: a damaged file, other numbers of rows or columns, NaN, or digits of a csv that
            do not stand in blocks of 200.
    """
    path = root / f"mfeat-{view}"
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
    expected = (ROWS, VIEWS[view] + labelled)
    if table.shape != expected or not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).sum())
        raise ValueError(
            f"{path} has shape {table.shape} and {bad} values that are NaN or infinite; expected "
            f"{expected} and none: copy it again"
        )
    if labelled and not np.array_equal(table[:, -1], np.arange(10).repeat(ROWS // 10)):
        raise ValueError(
            f"{path}: the last column is not 200 times each digit from 0 to 9 in turn, by which "
            "the rows of the six files belong together; copy the file again"
        )
    return torch.from_numpy(table[:, : VIEWS[view]].copy())


def _deal(digits: Int64[Tensor, " n"], folds: int, seed: int) -> Int64[Tensor, " n"]:
    """The fold of each row; those of a digit are spread evenly."""
    generator = torch.Generator().manual_seed(seed)
    dealt = torch.empty_like(digits)
    for digit in range(10):
        rows = (digits == digit).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        dealt[rows[order]] = torch.arange(len(rows)) % folds
    return dealt


def _standardise(
    table: Float64[Tensor, "n f"], train: Bool[Tensor, " n"]
) -> Float64[Tensor, "n f"]:
    mean, spread = table[train].mean(dim=0), table[train].std(dim=0, correction=0)
    constant = (table[train] == table[train][0]).all(dim=0)
    return (table - mean) / torch.where(constant, 1.0, spread)
