"""Rows and the sets of keys they are compared with: checked, cleaned and counted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Rows(NamedTuple):
    """The anchors of a contrast.

    Attributes:
        x: [N, D] rows times scale; zeros where `keep` is False.
        label: [N] class, -1 where unknown; None without labels.
        keep: [N] False for rows that take no part; None when all do.
    """

    x: Float[Tensor, "n d"]
    label: Int64[Tensor, " n"] | None = None
    keep: Bool[Tensor, " n"] | None = None


class Keys(NamedTuple):
    """A set of keys.

    Attributes:
        k: [M, D]; zeros where `valid` is False.
        label: [M] class, -1 where unknown; None without labels.
        valid: [M] False for keys that take no part; None when all do.
        own: key i + own is the pair of row i; None in a set without pairs.
    """

    k: Float[Tensor, "m d"]
    label: Int64[Tensor, " m"] | None = None
    valid: Bool[Tensor, " m"] | None = None
    own: int | None = None


def prepare(
    x: Float[Tensor, "n d"],
    keep: Bool[Tensor, " n"] | None,
    dtype: torch.dtype,
    scale: float | Float[Tensor, ""] = 1.0,
) -> Float[Tensor, "n d"]:
    """x · scale in `dtype`, with zeros in the rows that take no part."""
    if keep is not None:
        x = torch.where(keep[:, None], x, torch.zeros((), dtype=x.dtype, device=x.device))
    if isinstance(scale, Tensor) and scale.numel() != 1:
        raise ValueError(
            f"scale and temperature are single numbers, got a tensor of shape {list(scale.shape)}; "
            "multiply the rows yourself for a factor of each"
        )
    if isinstance(scale, Tensor) or scale != 1:
        x = x.to(torch.promote_types(x.dtype, torch.float32)) * scale
    return x.to(dtype)


def working_dtype(impl: str, *tensors: Tensor) -> torch.dtype:
    """The type of rows and keys inside a kernel: float32 or wider.

    Triton reads half precision, autocast's included, and sums in float32.
    """
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if impl != "triton":
        return torch.promote_types(dtype, torch.float32)
    device = tensors[0].device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype


def own_keys(rows: Rows, keys: Keys) -> tuple[Bool[Tensor, " n"], Int64[Tensor, " n"]]:
    """Which rows have their pair among the keys, and its position (0 where there is none)."""
    place = torch.arange(len(rows.x), device=rows.x.device)
    if keys.own is None or not len(keys.k):
        return torch.zeros_like(place, dtype=torch.bool), torch.zeros_like(place)
    place = place + keys.own
    found = (place >= 0) & (place < len(keys.k))
    place = torch.where(found, place, 0)
    return found if keys.valid is None else found & keys.valid[place], place


def count_positives(rows: Rows, keys: Keys) -> Int64[Tensor, " n"]:
    """Number of positives of each row: its own key and those of its label."""
    own, place = own_keys(rows, keys)
    if rows.label is None or keys.label is None or not len(keys.k):
        return own.long()
    counted = own & ((rows.label < 0) | (keys.label[place] != rows.label))
    return _count_label(rows.label, keys) + counted.long()


def count_negatives(rows: Rows, keys: Keys) -> Int64[Tensor, " n"]:
    """Number of negatives of each row: keys known to have another label, except its own."""
    own, place = own_keys(rows, keys)
    if rows.label is None or keys.label is None or not len(keys.k):
        there = len(keys.k) if keys.valid is None else keys.valid.sum()
        return there - own.long()
    known = keys.label >= 0 if keys.valid is None else keys.valid & (keys.label >= 0)
    others = known.sum() - _count_label(rows.label, keys)
    own_differs = own & (keys.label[place] >= 0) & (keys.label[place] != rows.label)
    return torch.where(rows.label >= 0, others - own_differs.long(), 0)


def _count_label(label: Int64[Tensor, " n"], keys: Keys) -> Int64[Tensor, " n"]:
    """The number of keys with each row's label: a sort of the labels, not [N, M] comparisons."""
    assert keys.label is not None
    there = keys.label if keys.valid is None else torch.where(keys.valid, keys.label, -1)
    ordered = there.sort().values
    last = torch.searchsorted(ordered, label, right=True)
    return torch.where(label >= 0, last - torch.searchsorted(ordered, label), 0)


def check_rows(op: str, rows: Tensor, keys: Tensor, extra: Tensor | None = None) -> None:
    """Require matrices of one width.

    Raises:
        ValueError: they are not; says their shapes.
    """
    if rows.ndim != 2 or keys.ndim != 2 or rows.shape[1] != keys.shape[1]:
        raise ValueError(
            f"{op}: rows and keys must be [N, D] and [M, D] of one width, got {list(rows.shape)} "
            f"and {list(keys.shape)}; project them into one space first"
        )
    if extra is not None and (extra.ndim != 2 or extra.shape[1] != rows.shape[1]):
        raise ValueError(
            f"{op}: extra keys must be [L, {rows.shape[1]}], got {list(extra.shape)}; project them "
            "into the space of the rows first"
        )


def check_beside(op: str, **pairs: tuple[Tensor | None, Tensor | None]) -> None:
    """Require that each named vector has one entry for each row of its matrix.

    Raises:
        ValueError: one has not, or was given without its matrix.
    """
    for name, (vector, matrix) in pairs.items():
        if vector is None:
            continue
        if matrix is None:
            raise ValueError(f"{op}: {name} was given without the rows that it describes")
        if vector.shape != matrix.shape[:1]:
            raise ValueError(
                f"{op}: {name} must have one entry for each of {len(matrix)} rows, got shape "
                f"{list(vector.shape)}"
            )


def check_labels(
    op: str, row_labels: Tensor | None, key_labels: Tensor | None, name_of_key_labels: str
) -> None:
    """Require labels on both sides or on neither.

    Raises:
        ValueError: one side lacks them; says which.
    """
    if (row_labels is None) != (key_labels is None):
        missing = "row_labels" if row_labels is None else name_of_key_labels
        raise ValueError(
            f"{op}: labels are needed on both sides or on neither, {missing} is missing; -1 marks "
            "a row without one"
        )
