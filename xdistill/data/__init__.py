"""Paired datasets, their splits, checks and caches; data sets are made by `create_dataset`."""

from xdistill.data.audit import audit
from xdistill.data.augment import flip_and_shift
from xdistill.data.cache import cache_teacher
from xdistill.data.cards import DatasetCard
from xdistill.data.paired import PairedDataset, collate, paired_loader
from xdistill.data.splits import (
    Splits,
    check_disjoint,
    fold_groups,
    hide_labels,
    kfold_by_group,
    split_by_group,
    split_groups,
)

__all__ = [
    "DatasetCard",
    "PairedDataset",
    "Splits",
    "audit",
    "cache_teacher",
    "check_disjoint",
    "collate",
    "flip_and_shift",
    "fold_groups",
    "hide_labels",
    "kfold_by_group",
    "paired_loader",
    "split_by_group",
    "split_groups",
]
