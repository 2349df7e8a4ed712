"""Several paired datasets as one."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from xdistill.types import Outputs

if TYPE_CHECKING:
    from xdistill.data.paired import PairedDataset


def joined(datasets: Sequence[PairedDataset], same_groups: bool | None) -> dict[str, Any]:
    """The arguments of the dataset that holds the rows of all; see `PairedDataset.concat`."""
    parts = list(datasets)
    if not parts:
        raise ValueError("concat needs at least one dataset, got none")
    _refuse_unlike("classes", [part.classes for part in parts], "give all of them the same classes")
    kinds = [part.target_kind for part in parts]
    _refuse_unlike("targets", kinds, "bring them to one form")
    timed = [part.start_s is not None for part in parts]
    _refuse_unlike("start_s", timed, "give it to all of them, or replace(start_s=None)")
    _refuse_unlike(
        "cached outputs of",
        [sorted(part.cached) for part in parts],
        "call cache_teacher on what concat returns, or with one teacher on each of them",
    )
    group, names = _groups(parts, same_groups)
    modalities = sorted({name for part in parts for name in part.inputs})
    masked = {name for part in parts for name in part.valid}.union(
        name for name in modalities if any(name not in part.inputs for part in parts)
    )
    shared = {name for name in modalities if _same_transform(parts, name)}
    return {
        "inputs": {name: _column(parts, name, name not in shared) for name in modalities},
        "target": torch.cat([part.target for part in parts]),
        "target_kind": None if kinds[0] in ("class", "classes") else kinds[0],
        "classes": parts[0].classes,
        "group": group,
        "group_names": names,
        "valid": {name: torch.cat([_has(part, name) for part in parts]) for name in sorted(masked)},
        "transforms": {
            name: found
            for name in shared
            if (found := _first_with(parts, name).transforms.get(name)) is not None
        },
        "ids": _ids(parts),
        "start_s": torch.cat([part.start_s for part in parts if part.start_s is not None])
        if all(timed)
        else None,
        "cached": {
            name: _join_outputs(name, [part.cached[name] for part in parts])
            for name in parts[0].cached
        },
    }


class Joined(Sequence):
    """Columns one after the other; a part without the modality is None, and is never read."""

    def __init__(self, columns: Sequence[Any], lengths: Sequence[int]):
        self.columns = list(columns)
        self.ends = list(accumulate(lengths))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row):
        part = bisect_right(self.ends, row)
        column = self.columns[part]
        if column is None:
            raise IndexError(f"row {row} lacks the modality")
        return column[row - (self.ends[part - 1] if part else 0)]


class Transformed(Sequence):
    """A column of a dataset as its transform returns it."""

    def __init__(self, dataset: PairedDataset, name: str):
        self.dataset = dataset
        self.name = name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row):
        return self.dataset.read(self.name, row)


def _column(parts: list[PairedDataset], name: str, transformed: bool) -> Any:
    columns = [part.inputs.get(name) for part in parts]
    if transformed:
        pairs = zip(parts, columns, strict=True)
        columns = [None if column is None else Transformed(part, name) for part, column in pairs]
    tensors = [column for column in columns if isinstance(column, Tensor)]
    alike = len({(one.dtype, one.shape[1:]) for one in tensors}) == 1
    if len(tensors) == len(parts) and alike:
        return torch.cat(tensors)
    return Joined(columns, [len(part) for part in parts])


def _same_transform(parts: list[PairedDataset], name: str) -> bool:
    having = [part for part in parts if name in part.inputs]
    return all(part.transforms.get(name) is having[0].transforms.get(name) for part in having)


def _first_with(parts: list[PairedDataset], name: str) -> PairedDataset:
    return next(part for part in parts if name in part.inputs)


def _has(part: PairedDataset, name: str) -> Tensor:
    if name in part.inputs or name in part.cached:
        return part.rows_with(name)
    return torch.zeros(len(part), dtype=torch.bool)


def _groups(
    parts: list[PairedDataset], same: bool | None
) -> tuple[Int64[Tensor, " n"], list[str] | None]:
    named = [part.group_names is not None for part in parts]
    _refuse_unlike("names of groups", named, "name the groups of all of them, or of none")
    own = [{part.name_of_group(one) for one in part.group.unique().tolist()} for part in parts]
    twice = sorted(name for name, count in Counter(n for p in own for n in p).items() if count > 1)
    if twice and same is None:
        raise ValueError(
            f"{len(twice)} groups are in several of the datasets ({', '.join(twice[:8])}"
            f"{', …' if len(twice) > 8 else ''}); say whether those are the same subjects: "
            "PairedDataset.concat(datasets, same_groups=True), or other ones: same_groups=False"
        )
    apart = bool(twice) and not same
    if not any(named) and not apart:
        return torch.cat([part.group for part in parts]), None
    full = [
        f"{number}/{part.name_of_group(one)}" if apart else part.name_of_group(one)
        for number, part in enumerate(parts)
        for one in part.group.tolist()
    ]
    names = list(dict.fromkeys(full))
    places = {name: place for place, name in enumerate(names)}
    return torch.tensor([places[name] for name in full]), names if any(named) else None


def _ids(parts: list[PairedDataset]) -> list[str]:
    """The names of the rows; with the number of the dataset before them if two share one."""
    if sum(len(set(part.ids)) for part in parts) == len(
        {one for part in parts for one in part.ids}
    ):
        return [one for part in parts for one in part.ids]
    return [f"{number}/{one}" for number, part in enumerate(parts) for one in part.ids]


def _join_outputs(name: str, outputs: list[Outputs]) -> Outputs:
    described = [
        (
            tuple(one.embedding.shape[1:]),
            None if one.logits is None else tuple(one.logits.shape[1:]),
            {layer: tuple(tensor.shape[1:]) for layer, tensor in sorted(one.hidden.items())},
        )
        for one in outputs
    ]
    _refuse_unlike(f"cached outputs of {name}", described, "cache all with one teacher")
    logits = [one.logits for one in outputs if one.logits is not None]
    return Outputs(
        torch.cat([one.embedding for one in outputs]),
        torch.cat(logits) if logits else None,
        {layer: torch.cat([one.hidden[layer] for one in outputs]) for layer in outputs[0].hidden},
    )


def _refuse_unlike(what: str, values: Sequence[Any], advice: str) -> None:
    for number, value in enumerate(values):
        if value != values[0]:
            raise ValueError(
                f"the datasets differ in {what}: the first has {values[0]}, number {number} has "
                f"{value}; {advice}"
            )
