"""Rows and the sets of keys they meet: checked, cleaned and counted, the same for every kernel."""

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
        keep: [N] the rows that count; None when all do.
    """

    x: Float[Tensor, "n d"]
    label: Int64[Tensor, " n"] | None = None
    keep: Bool[Tensor, " n"] | None = None


class Keys(NamedTuple):
    """A set of keys.

    Attributes:
        k: [M, D]; zeros where `valid` is False.
        label: [M] class, -1 where unknown; None without labels.
        valid: [M] the keys that are there; None when all are.
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
    """x · scale in `dtype`, with zeros in the rows that do not count."""
    if keep is not None:
        x = torch.where(keep[:, None], x, torch.zeros((), dtype=x.dtype, device=x.device))
    if isinstance(scale, Tensor) or scale != 1:
        x = x.to(torch.promote_types(x.dtype, torch.float32)) * scale
    return x.to(dtype)


def working_dtype(impl: str, *tensors: Tensor) -> torch.dtype:
    """float32 or wider; Triton takes half precision, that of autocast too, and sums in float32."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if impl != "triton":
        return torch.promote_types(dtype, torch.float32)
    device = tensors[0].device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype


def own_keys(rows: Rows, keys: Keys) -> tuple[Bool[Tensor, " n"], Int64[Tensor, " n"]]:
    """Which rows have their pair among the keys, and its position (0 where they have none)."""
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
    """Number of negatives of each row: keys known to be of another label, its own apart."""
    own, place = own_keys(rows, keys)
    if rows.label is None or keys.label is None or not len(keys.k):
        there = len(keys.k) if keys.valid is None else keys.valid.sum()
        return there - own.long()
    known = keys.label >= 0 if keys.valid is None else keys.valid & (keys.label >= 0)
    others = known.sum() - _count_label(rows.label, keys)
    own_differs = own & (keys.label[place] >= 0) & (keys.label[place] != rows.label)
    return torch.where(rows.label >= 0, others - own_differs.long(), 0)


def _count_label(label: Int64[Tensor, " n"], keys: Keys) -> Int64[Tensor, " n"]:
    """How many keys carry each row's label, from the sorted labels: no [N, M] comparison."""
    assert keys.label is not None
    there = keys.label if keys.valid is None else torch.where(keys.valid, keys.label, -1)
    ordered = there.sort().values
    last = torch.searchsorted(ordered, label, right=True)
    return torch.where(label >= 0, last - torch.searchsorted(ordered, label), 0)


def check_rows(op: str, a: Tensor, k: Tensor, extra: Tensor | None = None) -> None:
    """Raise unless all are matrices of one width.

    Raises:
        ValueError: with the shapes that came.
    """
    if a.ndim != 2 or k.ndim != 2 or a.shape[1] != k.shape[1]:
        raise ValueError(
            f"{op}: rows and keys must be [N, D] and [M, D] of one width, got {list(a.shape)} and "
            f"{list(k.shape)}; project them into one space first"
        )
    if extra is not None and (extra.ndim != 2 or extra.shape[1] != a.shape[1]):
        raise ValueError(
            f"{op}: extra keys must be [L, {a.shape[1]}], got {list(extra.shape)}; project them "
            "into the space of the rows first"
        )


def check_beside(op: str, **pairs: tuple[Tensor | None, Tensor | None]) -> None:
    """Raise unless each named vector has one entry for each row of its matrix.

    Raises:
        ValueError: with the shapes that came.
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


def check_labels(op: str, la: Tensor | None, lk: Tensor | None, kind: str = "lk") -> None:
    """Raise when one side alone has labels.

    Raises:
        ValueError: says which side lacks them.
    """
    if (la is None) != (lk is None):
        missing = "la" if la is None else kind
        raise ValueError(
            f"{op}: labels are needed on both sides or on neither, {missing} is missing; -1 marks "
            "a row without one"
        )
