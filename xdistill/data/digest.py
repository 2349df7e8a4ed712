"""A digest of a data set, by which a run that goes on knows its data again."""

from __future__ import annotations

from hashlib import blake2b

from torch import Tensor

from xdistill.data.paired import PairedDataset
from xdistill.storage.checksums import add_tensor
from xdistill.types import Outputs

ROWS = 16
"""Rows of a data set whose content is looked at."""


def data_digest(dataset: object) -> str:
    """Number of rows and a digest: of labels, groups and masks, and of the content of some rows."""
    rows = len(dataset) if hasattr(dataset, "__len__") else None  # type: ignore[arg-type]
    if not isinstance(dataset, PairedDataset):
        return f"{type(dataset).__name__} of {'unknown many' if rows is None else rows} rows"
    hasher = blake2b(digest_size=8)
    for name, one in (("target", dataset.target), ("group", dataset.group)):
        add_tensor(hasher, name, one)
    for name, mask in sorted(dataset.valid.items()):
        add_tensor(hasher, name, mask)
    some = range(0, len(dataset), max(1, len(dataset) // ROWS))
    for name, column in sorted(dataset.inputs.items()):
        for row in some:
            if dataset.has(name, row) and isinstance(value := column[row], Tensor):
                add_tensor(hasher, name, value)
    for name, outputs in sorted(dataset.cached.items()):
        for tensor_name, tensor in _tensors(outputs).items():
            add_tensor(hasher, f"{name} {tensor_name}", tensor[list(some)])
    return f"{len(dataset)} rows ({hasher.hexdigest()})"


def _tensors(outputs: Outputs) -> dict[str, Tensor]:
    named = {"embedding": outputs.embedding, "logits": outputs.logits, **outputs.hidden}
    return {name: one for name, one in named.items() if one is not None}
