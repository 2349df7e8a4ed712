"""How paired samples become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data._utils.collate import default_collate_fn_map

from xdistill.data.rows import Rows, stack_rows
from xdistill.types import Outputs, PairedBatch, PairedSample


def collate(samples: Sequence[PairedSample]) -> PairedBatch:
    """Stack samples into a batch; a modality that a row lacks becomes zeros, marked in `valid`.

    A DataLoader's default collate does the same with a PairedSample.

    Raises:
        TypeError: samples that are no PairedSample.
        ValueError: rows of one modality have different shapes.
    """
    if isinstance(samples, Rows):
        return samples.filled()
    _refuse_others(samples)
    names = sorted({name for sample in samples for name in sample.inputs})
    lacked = {name for sample in samples for name in names if name not in sample.inputs}
    masked = sorted(lacked.union(*(sample.valid for sample in samples)))
    cached = sorted({name for sample in samples for name in sample.cached})
    return PairedBatch(
        inputs={
            name: stack_rows(name, [one.inputs.get(name) for one in samples]) for name in names
        },
        target=torch.stack([torch.as_tensor(sample.target) for sample in samples]),
        valid={
            name: torch.tensor([_has(sample, name, name in lacked) for sample in samples])
            for name in masked
        },
        index=torch.tensor([sample.index for sample in samples]),
        group=torch.tensor([sample.group for sample in samples]),
        cached={
            name: _stack_outputs([sample.cached[name] for sample in samples]) for name in cached
        },
    )


def _has(sample: PairedSample, name: str, needs_input: bool) -> bool:
    """Whether a row has a modality: it says so, and where others bring an input, so does it."""
    return sample.valid.get(name, True) and (not needs_input or name in sample.inputs)


def _stack_outputs(rows: Sequence[Outputs]) -> Outputs:
    first = rows[0]
    return Outputs(
        embedding=torch.stack([row.embedding for row in rows]),
        logits=None
        if first.logits is None
        else torch.stack([row.logits for row in rows if row.logits is not None]),
        hidden={name: torch.stack([row.hidden[name] for row in rows]) for name in first.hidden},
    )


def _refuse_others(samples: Sequence[Any]) -> None:
    for sample in samples:
        if not isinstance(sample, PairedSample):
            keys = f" with the keys {sorted(sample)}" if isinstance(sample, dict) else ""
            raise TypeError(
                f"xd.collate stacks PairedSamples, got {type(sample).__name__}{keys}; say what its "
                "columns are with PairedDataset.from_rows(dataset, inputs=…, target=…), and load "
                "that with paired_loader"
            )


def _default_collate(samples: Sequence[PairedSample], *, collate_fn_map: Any = None) -> PairedBatch:
    return collate(samples)


# As the documentation of `torch.utils.data.default_collate` adds a type of one's own.
default_collate_fn_map[PairedSample] = _default_collate
