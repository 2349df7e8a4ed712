"""Experiments with few labels: which rows keep theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from xdistill.data.paired import PairedDataset
from xdistill.data.target import hidden_target


def hide_labels(dataset: PairedDataset, fraction: float, seed: int = 0) -> PairedDataset:
    """The same rows with the labels of a part of each class set to unlabelled (-1, NaN for floats).

    Of the n labelled rows of each class, `fraction` · n, rounded and at least one, keep their
    label. Where a row has anything but one class, all labelled rows count together. For the same
    seed, the labels kept at a smaller fraction are among those kept at a larger one.

    Args:
        fraction: share of the labels that are kept, above 0 and at most 1.
        seed: decides which labels are kept.

    Raises:
        ValueError: the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(
            f"fraction is the share of labels that are kept, above 0 and at most 1, got {fraction}"
        )
    generator = torch.Generator().manual_seed(seed)
    target = hidden_target(dataset.target)
    if dataset.target_kind != "class":
        strata = [dataset.labelled]
    else:
        strata = [dataset.target == label for label in range(len(dataset.classes))]
    for stratum in strata:
        rows = stratum.nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator)  # drawn for empty classes too
        kept = rows[order[: max(1, int(fraction * len(rows) + 0.5))]]
        target[kept] = dataset.target[kept]
    return dataset.replace(target=target)


def keep_labels_of(
    dataset: PairedDataset, groups: int | str | Sequence[int | str], seed: int = 0
) -> PairedDataset:
    """The same rows with the labels of some whole groups; all others become unlabelled.

    A sleep lab scores nights, not single epochs: the labels of three sleepers tell less about a
    fourth than as many labels spread over all sleepers (`hide_labels`).

    Args:
        dataset: some of whose rows have labels.
        groups: the groups, by name or number, that keep their labels; or how many do, drawn from
            those that have any.
            With one seed the groups of a smaller number are among those of a larger one.
        seed: which groups are drawn follows from it.

    Raises:
        ValueError: a number out of range, or a group that has no labels in the dataset.
    """
    present = dataset.group[dataset.labelled].unique()
    if isinstance(groups, int) and not isinstance(groups, bool):
        if not 1 <= groups <= len(present):
            raise ValueError(
                f"groups must be from 1 to the {len(present)} groups with labels, got {groups}"
            )
        order = torch.randperm(len(present), generator=torch.Generator().manual_seed(seed))
        chosen = present[order[:groups]]
    else:
        given = [groups] if isinstance(groups, str) or not isinstance(groups, Iterable) else groups
        known = {name: number for number, name in enumerate(dataset.group_names or ())}
        named = [known.get(one, one) if isinstance(one, str) else one for one in given]
        numbers = not any(isinstance(one, bool) for one in named)
        if not named or not numbers or not set(named) <= set(present.tolist()):
            names = present.tolist()
            if dataset.group_names is not None:
                names = [dataset.group_names[group] for group in names]
            raise ValueError(
                f"expected how many groups, or some of the groups with labels, {names}, "
                f"got {groups!r}"
            )
        chosen = torch.tensor([int(one) for one in named if not isinstance(one, str)])
    keep = torch.isin(dataset.group, chosen)
    target = hidden_target(dataset.target)
    target[keep] = dataset.target[keep]
    return dataset.replace(target=target)
