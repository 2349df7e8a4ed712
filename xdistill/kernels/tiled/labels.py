"""Labels and tiles: which keys of a row are candidates, positives and negatives."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.numerics import EXCLUDED

COLUMNS = 32
"""Columns that are summed at a time, in float64."""


class Rule:
    """Which keys are a row's candidates, positives and negatives, as `kernels.passes` defines."""

    def __init__(
        self,
        label_x: Int64[Tensor, " n"] | None,
        label_k: Int64[Tensor, " m"] | None,
        valid_k: Bool[Tensor, " m"] | None,
        own: int | None,
    ):
        self.own, self.valid = own, valid_k
        self.labelled_x = self.label_x = self.label_k = self.missing = None
        if label_x is None or label_k is None:
            return
        # Different codes for "unknown", so that no two are equal. A masked key is unknown.
        self.labelled_x = label_x >= 0
        self.label_x = label_x.masked_fill(~self.labelled_x, -2)
        known = label_k >= 0
        if label_k.device.type != "cpu" or not bool(known.all()):
            self.missing = ~known
        if valid_k is not None:
            known = known & valid_k
        self.label_k = label_k.masked_fill(~known, -1)

    def diagonal(self, rows: slice, keys: slice, tile: Tensor) -> tuple[Tensor, slice] | None:
        """A view of the tile's entries that are own pairs, and their keys."""
        if self.own is None:
            return None
        offset = rows.start + self.own - keys.start
        if offset >= tile.shape[1] or -offset >= tile.shape[0]:
            return None
        entries = tile.diagonal(offset)
        start = keys.start + max(offset, 0)
        return entries, slice(start, start + len(entries))

    def exclude(self, rows: slice, keys: slice, s: Float[Tensor, "r c"]) -> None:
        """Set the scores of keys that are no candidates to EXCLUDED."""
        if self.missing is not None and self.labelled_x is not None:
            found = self.diagonal(rows, keys, s)
            kept = None if found is None else found[0].clone()
            s.masked_fill_(self.labelled_x[rows, None] & self.missing[None, keys], EXCLUDED)
            if found is not None and kept is not None:
                found[0].copy_(kept)
        if self.valid is not None:
            s.masked_fill_(~self.valid[None, keys], EXCLUDED)

    def own_pairs(
        self, n: int, m: int, device: torch.device
    ) -> tuple[slice, slice, Bool[Tensor, " o"]]:
        """Rows with a pair, their keys, and which of these pairs do not share a label."""
        own = m if self.own is None else self.own
        first, last = max(0, -own), max(0, -own, min(n, m - own))
        rows, keys = slice(first, last), slice(first + own, last + own)
        apart = torch.ones(last - first, dtype=torch.bool, device=device)
        if self.label_x is not None and self.label_k is not None:
            apart = self.label_x[rows] != self.label_k[keys]
        return rows, keys, apart if self.valid is None else apart & self.valid[keys]

    def sum_keys(self, x: Float[Tensor, "n d"], k: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
        """The sum of each row's positives. It needs no tiles: all rows of one label share it."""
        if self.label_x is None or self.label_k is None:
            total = torch.zeros_like(x)
        else:
            total = sum_by_label(k, self.label_k, self.label_x)
        rows, keys, apart = self.own_pairs(len(x), len(k), x.device)
        total[rows] += k[keys] * apart[:, None]
        return total

    def sum_rows(self, x: Float[Tensor, "n d"], k: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        """For each key the sum of the rows that it is a positive of."""
        if self.label_x is None or self.label_k is None:
            total = torch.zeros_like(k)
        else:
            total = sum_by_label(x, self.label_x, self.label_k)
        rows, keys, apart = self.own_pairs(len(x), len(k), x.device)
        total[keys] += x[rows] * apart[:, None]
        return total

    def drop_positives(self, rows: slice, keys: slice, weight: Float[Tensor, "r c"]) -> None:
        """Set the weights of own keys and of keys of the row's label to 0."""
        found = self.diagonal(rows, keys, weight)
        if found is not None:
            found[0].zero_()
        if self.label_x is not None and self.label_k is not None:
            weight.masked_fill_(self.label_x[rows, None] == self.label_k[None, keys], 0.0)

    def known_rows(self, lse: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """`lse`, but so high for a row without a label that all its probabilities are 0."""
        return lse if self.labelled_x is None else torch.where(self.labelled_x, lse, -EXCLUDED)


def sum_by_label(
    values: Float[Tensor, "m d"], label: Int64[Tensor, " m"], wanted: Int64[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """For each wanted label the sum of the rows of `values` with that label; 0 for a negative one.

    It sorts and sums segments: an [N, M] mask would be large, and a scatter may add in a different
    order in every run. The sums are in float64, since a class can have very many rows.
    """
    if not len(values):
        return values.new_zeros(len(wanted), values.shape[1])
    ordered, order = label.sort(stable=True)
    first, stop = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))
    is_first = first == torch.arange(len(label), device=label.device)
    lengths = torch.where(is_first, stop - first, 0)
    place = torch.searchsorted(ordered, wanted).clamp(max=len(label) - 1)
    found = ((ordered[place] == wanted) & (wanted >= 0))[:, None]
    result = values.new_empty(len(wanted), values.shape[1])
    for start in range(0, values.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        sorted_values = values[:, columns][order].double()
        sums = torch.segment_reduce(
            sorted_values, "sum", lengths=lengths, axis=0, unsafe=True, initial=0.0
        )
        result[:, columns] = torch.where(found, sums[place], 0.0)
    return result
