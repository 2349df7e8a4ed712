"""Splits that never put a subject into two parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from xdistill.data.any_dataset import as_paired
from xdistill.data.describe import described_parts
from xdistill.data.paired import PairedDataset

CANDIDATES = 32
VAL_SHARE = 0.15


class Splits(NamedTuple):
    """The three parts of a benchmark: the model is selected on `val` and reported on `test`."""

    train: PairedDataset
    val: PairedDataset
    test: PairedDataset

    def __repr__(self) -> str:
        return described_parts(self._asdict())


def split_by_group(
    dataset: Any,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> Splits:
    """A random split of the groups (subjects).

    Of 32 random splits this is the one whose parts come closest to the fractions, in rows and in
    rows of each class. Labels are used for nothing else.

    Args:
        dataset: a PairedDataset, or anything that `as_paired` takes, here and below.
        fractions: share of the groups for train, val and test, which add up to 1.
        seed: the split follows from it.

    Raises:
        ValueError: fractions are not three positive numbers with sum 1, or there are fewer groups
            than parts.
    """
    shares = torch.tensor(list(fractions), dtype=torch.float64)
    if len(shares) != 3 or not bool((shares > 0).all()) or abs(float(shares.sum()) - 1) > 1e-6:
        raise ValueError(
            f"fractions must be three positive numbers that add up to 1 (train, val, test), got "
            f"{tuple(fractions)}; for other parts use split_groups"
        )
    dataset = as_paired(dataset)
    groups, counts = _class_counts(dataset)
    sizes = _part_sizes(len(groups), shares)
    labels = torch.repeat_interleave(torch.arange(3), sizes)
    generator = torch.Generator().manual_seed(seed)
    candidates = [
        labels[torch.randperm(len(groups), generator=generator)] for _ in range(CANDIDATES)
    ]
    part = min(candidates, key=lambda part: _imbalance(counts, part, shares))
    return split_groups(
        dataset, **{name: groups[part == k].tolist() for k, name in enumerate(Splits._fields)}
    )


def split_groups(
    dataset: Any,
    *,
    train: Sequence[int | str],
    val: Sequence[int | str],
    test: Sequence[int | str],
) -> Splits:
    """The split that puts these groups (subjects), by name or number, into these parts.

    Raises:
        ValueError: a part names no group, two parts name the same group, the dataset does not have
            a group, or no part names a group of the dataset.
    """
    dataset = as_paired(dataset)
    named = {
        name: group_numbers(dataset, part)
        for name, part in (("train", train), ("val", val), ("test", test))
    }
    for name, part in named.items():
        if not part:
            raise ValueError(f"the part {name!r} names no group; every part needs at least one")
    _refuse_shared({name: _names(dataset, part) for name, part in named.items()})
    present = set(dataset.group.tolist())
    asked = set().union(*named.values())
    if asked - present:
        raise ValueError(
            f"the dataset has no rows of group {_listed(_names(dataset, asked - present))}; its "
            f"groups are {_listed(_names(dataset, present))}"
        )
    if present - asked:
        raise ValueError(
            f"group {_listed(_names(dataset, present - asked))} of the dataset is in no part; name "
            "it in train, val or test, or leave its rows out with subset() first"
        )
    return Splits(**{name: _rows_of(dataset, part) for name, part in named.items()})


def fold_groups(
    groups: Sequence[int], *, folds: int, fold: int, val_groups: int | None = None
) -> dict[str, list[int]]:
    """The groups of one fold of a cross-validation, as `split_groups` takes them.

    Group i is in fold i modulo ``folds``. Fold ``fold`` is the test part, the groups of the next
    folds (cyclically) are for validation, and the rest for training. Over all folds each group is
    tested once.

    Args:
        groups: subjects, each once.
        folds: number of folds, at most that of the groups.
        fold: which one is for testing, from 0.
        val_groups: how many of the other groups are for validation; 15 % when None.

    Raises:
        ValueError: a number is out of range.
    """
    if not 2 <= folds <= len(groups) or not 0 <= fold < folds:
        raise ValueError(
            f"folds must be from 2 to the number of groups (subjects), {len(groups)}, and fold "
            f"from 0 to folds - 1, got folds={folds} and fold={fold}"
        )
    # Cyclically from the test fold on: first the test groups, then those of the next folds.
    order = sorted(range(len(groups)), key=lambda at: ((at - fold) % folds, at))
    tested = len(range(fold, len(groups), folds))
    rest = len(groups) - tested
    held_out = max(1, round(VAL_SHARE * rest)) if val_groups is None else val_groups
    if not 1 <= held_out < rest:
        raise ValueError(
            f"the number of groups (subjects) for validation must be from 1 to {rest - 1}, so that "
            f"some of the {rest} that are not for testing are left for training, got {held_out}; "
            "change it, or the number of folds"
        )
    named = [groups[at] for at in order]
    return {
        "train": named[tested + held_out :],
        "val": named[tested : tested + held_out],
        "test": named[:tested],
    }


def check_disjoint(splits: Splits) -> None:
    """Refuse a split with a group (subject) in two parts.

    Groups with names are compared by name, since each part may number them in its own way.

    Raises:
        ValueError: two parts share groups; the message names them. Or some parts name their groups
            and others number them.
    """
    parts = dict(zip(Splits._fields, map(as_paired, splits), strict=True))
    if len({part.group_names is None for part in parts.values()}) > 1:
        raise ValueError(
            "some parts have names of groups and others numbers, so nobody can say whether they "
            "share a subject; name the groups of all parts"
        )
    _refuse_shared({name: _names(part, set(part.group.tolist())) for name, part in parts.items()})


def group_numbers(dataset: PairedDataset, groups: Iterable[int | str]) -> set[int]:
    """The numbers of groups that are given by name or number.

    Raises:
        ValueError: a name that no group has, or a number that is not whole.
    """
    names = dataset.group_names or ()
    numbers = set()
    for group in groups:
        if isinstance(group, str) and group not in names:
            raise ValueError(
                f"the dataset has no group {group!r}; its groups are "
                f"{_listed(_names(dataset, set(dataset.group.tolist())))}"
            )
        if not isinstance(group, str) and int(group) != group:
            raise ValueError(f"a group is a name or a whole number, got {group!r}")
        numbers.add(names.index(group) if isinstance(group, str) else int(group))
    return numbers


def kfold_by_group(dataset: Any, folds: int, seed: int = 0) -> list[Splits]:
    """Cross-validation over groups (subjects): each is for testing once and for validation once.

    The groups are shuffled into folds whose sizes differ by at most one group. In split k, fold k
    is for testing, fold k + 1 (cyclic) for validation, and the others for training.

    Raises:
        ValueError: there are fewer than three folds, or fewer groups than folds.
    """
    dataset = as_paired(dataset)
    groups = dataset.group.unique()
    if folds < 3 or folds > len(groups):
        raise ValueError(
            f"folds must be from 3 (train, val, test) to the number of groups ({len(groups)}), got "
            f"{folds}"
        )
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    fold = torch.empty_like(order)
    fold[order] = torch.arange(len(groups)) % folds
    return [_fold_split(dataset, groups, fold, k, (k + 1) % folds) for k in range(folds)]


def _fold_split(
    dataset: PairedDataset, groups: Tensor, fold: Tensor, test: int, val: int
) -> Splits:
    return split_groups(
        dataset,
        train=groups[(fold != test) & (fold != val)].tolist(),
        val=groups[fold == val].tolist(),
        test=groups[fold == test].tolist(),
    )


def _class_counts(
    dataset: PairedDataset,
) -> tuple[Int64[Tensor, " g"], Float[Tensor, "g columns"]]:
    """The groups, and the number of rows of each class in each; column 0 is for unlabelled rows.

    A row of several classes counts in the column of each. Where rows have values, soft labels or
    a class at each position, there are two columns: without and with a target.
    """
    groups, place = dataset.group.unique(return_inverse=True)
    width = len(dataset.classes) + 1
    if dataset.multi_label:
        unlabelled = (dataset.target < 0).all(dim=1, keepdim=True)
        has = torch.cat([unlabelled, dataset.target > 0], dim=1).double()  # [N, K + 1]
        return groups, has.new_zeros(len(groups), width).index_add_(0, place, has)
    if dataset.target_kind != "class":
        known = dataset.labelled
        has = torch.stack([~known, known], dim=1).double()  # [N, 2]
        return groups, has.new_zeros(len(groups), 2).index_add_(0, place, has)
    flat = torch.bincount(place * width + dataset.target + 1, minlength=len(groups) * width)
    return groups, flat.view(len(groups), width).double()


def _part_sizes(groups: int, shares: Float[Tensor, " p"]) -> Int64[Tensor, " p"]:
    """Number of groups in each part: the largest-remainder method, then at least one each."""
    if groups < len(shares):
        raise ValueError(
            f"a split into {len(shares)} parts needs at least {len(shares)} groups, the dataset "
            f"has {groups}"
        )
    exact = shares * groups
    sizes = exact.floor().long()
    largest = (exact - sizes).argsort(descending=True, stable=True)
    sizes[largest[: groups - int(sizes.sum())]] += 1
    while bool((sizes == 0).any()):
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes


def _imbalance(
    counts: Float[Tensor, "g k"], part: Int64[Tensor, " g"], shares: Float[Tensor, " p"]
) -> float:
    """Mean distance of the parts' shares of all rows and of each class from those asked for."""
    columns = torch.cat([counts.sum(dim=1, keepdim=True), counts], dim=1)  # [G, K + 2]
    sums = columns.new_zeros(len(shares), columns.shape[1]).index_add_(0, part, columns)
    total = columns.sum(dim=0)
    share = sums[:, total > 0] / total[total > 0]
    return float((share - shares[:, None]).abs().mean())


def _rows_of(dataset: PairedDataset, groups: set[int]) -> PairedDataset:
    chosen = torch.isin(dataset.group, torch.tensor(sorted(groups)))
    return dataset.subset(chosen.nonzero().flatten())


def _names(dataset: PairedDataset, groups: set[int]) -> set[int | str]:
    """Names of groups, or their numbers where they have none."""
    names = dataset.group_names
    known = range(0 if names is None else len(names))
    return {names[group] if names and group in known else group for group in groups}


def _refuse_shared(parts: dict[str, set[int | str]]) -> None:
    for (first, left), (second, right) in combinations(parts.items(), 2):
        if left & right:
            raise ValueError(
                f"{first} and {second} share group {_listed(left & right)}; put each group "
                "(subject) into one part only"
            )


def _listed(groups: set[int | str], most: int = 12) -> str:
    names = [str(group) for group in sorted(groups, key=lambda group: (str(type(group)), group))]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
