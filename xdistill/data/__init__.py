"""Paired datasets, their splits, checks and caches; data sets are made by `create_dataset`."""

from xdistill.data.any_dataset import as_paired
from xdistill.data.audit import audit
from xdistill.data.augment import flip_and_shift
from xdistill.data.cache import cache_teacher
from xdistill.data.calibrate import calibrate_teacher
from xdistill.data.cards import DatasetCard
from xdistill.data.collate import collate
from xdistill.data.labels import hide_labels, keep_labels_of
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.data.refine import refine_targets
from xdistill.data.splits import (
    Splits,
    check_disjoint,
    fold_groups,
    kfold_by_group,
    split_by_group,
    split_groups,
)

__all__ = [
    "DatasetCard",
    "PairedDataset",
    "Splits",
    "as_paired",
    "audit",
    "cache_teacher",
    "calibrate_teacher",
    "check_disjoint",
    "collate",
    "flip_and_shift",
    "fold_groups",
    "hide_labels",
    "keep_labels_of",
    "kfold_by_group",
    "paired_loader",
    "refine_targets",
    "split_by_group",
    "split_groups",
]
