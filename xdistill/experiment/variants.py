"""Losses with options changed, under names that a method can use: loss/variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALL_NEGATIVES = {"bank_size": 0, "form": "nce", "mining": "all"}

PARTS: Mapping[str, Mapping[str, Any]] = {
    "sacd/contrast_only": {"structure": None},
    "sacd/structure_only": {"contrast_weight": 0.0},
    "sacd/structure_weight_1": {"structure_weight": 1.0},
    "sacd/structure_weight_16": {"structure_weight": 16.0},
    "sacd/projected_structure": {"structure_space": "projected"},
    "sacd/gram": {"structure": "gram", "structure_weight": 3000.0},
    "sacd/bank_0": {"bank_size": 0},
    "sacd/bank_1024": {"bank_size": 1024},
    "sacd/k_1": {"num_negatives": 1},
    "sacd/k_20": {"num_negatives": 20},
    "sacd/nce": {"form": "nce"},
    "sacd/hard": {"mining": "hard"},
    "sacd/paired_positives": {"positives": "pair"},
    "sacd/composition": {"composition": True},
}
"""SACD with one part changed; `sacd` itself is what all others are compared with."""

LIGHT: Mapping[str, Mapping[str, Any]] = {
    "sacd/bank_0_weight_1": {"bank_size": 0, "structure_weight": 1.0},
    "sacd/bank_0_no_projector": {"bank_size": 0, "dim": None},
    "sacd/all_negatives": ALL_NEGATIVES,
    "sacd/all_negatives_weight_1": {**ALL_NEGATIVES, "structure_weight": 1.0},
    "sacd/all_negatives_no_projector": {**ALL_NEGATIVES, "dim": None},
    "sacd/all_negatives_no_structure": {**ALL_NEGATIVES, "dim": None, "structure": None},
}
"""SACD without its bank and with more changed, to be combined with other losses."""

OTHERS: Mapping[str, Mapping[str, Any]] = {"pseudo_label/soft": {"hard": False}}
"""Of other losses."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {**PARTS, **LIGHT, **OTHERS}
"""The options of each variant, which differ from the defaults of the loss before the "/"."""
