"""A dataset in a few lines, as `repr` shows it."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from torch import Tensor

from xdistill.types import Outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdistill.data.paired import PairedDataset

MOST = 12


def described(dataset: PairedDataset) -> str:
    """Rows, groups, classes, modalities with shapes, and what is missing."""
    rows = len(dataset)
    groups = dataset.group.unique().tolist()
    lines = [
        f"{rows} rows, {_listed('group', [dataset.name_of_group(one) for one in groups])}",
        _classes(dataset),
        *(f"{name}: {_column(dataset, name)}" for name in dataset.modalities),
        *(f"{name}: cached {_outputs(outs)}" for name, outs in sorted(dataset.cached.items())),
    ]
    return "PairedDataset(\n" + indent("\n".join(lines), "  ") + "\n)"


def described_parts(parts: Mapping[str, PairedDataset]) -> str:
    """Several datasets by name."""
    lines = [f"{name}={part!r}," for name, part in parts.items()]
    return "Splits(\n" + indent("\n".join(lines), "  ") + "\n)"


def _classes(dataset: PairedDataset) -> str:
    if dataset.multi_label:
        counts = (dataset.target > 0).sum(dim=0).tolist()
        kind = "classes, several a row"
    else:
        counts = [int((dataset.target == label).sum()) for label in range(len(dataset.classes))]
        kind = "classes"
    pairs = zip(dataset.classes, counts, strict=True)
    named = _short([f"{name} {count}" for name, count in pairs])
    labelled = int(dataset.labelled.sum())
    return f"{len(dataset.classes)} {kind} ({named}), {labelled} of {len(dataset)} rows labelled"


def _column(dataset: PairedDataset, name: str) -> str:
    missing = int((~dataset.rows_with(name)).sum())
    told = f"missing in {missing} rows" if missing else "in all rows"
    try:
        blank = dataset.blank(name)
    except Exception as error:  # a repr shows what is wrong, and does not fail by it
        return f"unreadable ({type(error).__name__}: {error}), {told}"
    return told if blank is None else f"{_shape(blank)} {_dtype(blank)}, {told}"


def _outputs(outputs: Outputs) -> str:
    named = {"embedding": outputs.embedding, "logits": outputs.logits, **outputs.hidden}
    shapes = {name: tensor[0] for name, tensor in named.items() if tensor is not None}
    return ", ".join(f"{name} {_shape(tensor)}" for name, tensor in shapes.items())


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(kind: str, names: list[str]) -> str:
    return f"{len(names)} {kind}{'' if len(names) == 1 else 's'} ({_short(names)})"


def _short(names: list[str]) -> str:
    return ", ".join(names[:MOST]) + (", …" if len(names) > MOST else "")
