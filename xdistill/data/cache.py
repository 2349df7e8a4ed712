"""The outputs of a frozen teacher, computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.data.any_dataset import as_paired
from xdistill.data.few_logits import LOGITS, all_logits, few_logits
from xdistill.data.frozen import device_of
from xdistill.data.paired import PairedDataset
from xdistill.data.store import default_root, digest, stored_tensors
from xdistill.data.teacher_key import digest_teacher
from xdistill.data.teacher_pass import EMBEDDING, HIDDEN, TeacherPass
from xdistill.storage.names import plain_name
from xdistill.types import Outputs

VERSION = 2


def cache_teacher(
    dataset: Any,
    teacher: nn.Module,
    modality: str,
    *,
    name: str | None = None,
    root: str | Path | None = None,
    hidden: Sequence[str] = (),
    batch_size: int = 64,
    device: torch.device | str | None = None,
    key: str | None = None,
    view: int | None = None,
    top_k: int | None = None,
    dtype: torch.dtype | None = None,
    rows_per_file: int | None = None,
) -> PairedDataset:
    """The dataset with a frozen teacher's outputs in place of the teacher's inputs.

    The teacher runs once for each row, in eval mode, without gradient and without autocast. Its
    embedding, logits and the named hidden tensors are stored in a file whose name is a digest of
    the teacher's weights, buffers, settings and classes (see `digest_teacher`) and of every row,
    transforms included. Another call with the same arguments memory-maps that file and runs
    nothing. Rows without the modality hold zeros.

    A memory-mapped file takes no memory. `top_k`, `dtype` and `rows_per_file` save disk, not
    memory: with any of them the outputs of all rows, all logits in float32, are held in memory.

    Functions that the teacher's `forward` calls by their names in a module are not part of the
    digest: delete the file if one of them changes, or pass another `key`. Inputs in float64 are
    given to a teacher of another precision in that.

    Args:
        dataset: has the modality in `inputs`, without a random transform or with a `view`;
            `as_paired` takes it.
        teacher: takes [B, ...] rows of the modality and returns Outputs.
        modality: the one that the teacher takes.
        name: the teacher's in the `Distiller`, where several teachers share a modality: its inputs
            are kept for the others. None: the modality.
        root: folder of the files; `default_root("teachers")` when None.
        hidden: names of the hidden tensors that a loss will need. They are large, so none is kept
            by default.
        batch_size: number of rows in a batch of the teacher.
        device: where the teacher runs; None is where its parameters are.
        key: a text of your own, part of the digest, that stands for what it cannot read.
        view: number of an augmented view: the random transform of row i is drawn from a seed that
            is `view` and i. Call once for each view, and train on them in turn.
        top_k: keep this many of a row's logits, its largest. The others come back as one value,
            with which their probabilities sum to what they did.
        dtype: keep floating-point outputs in this one, as in torch.float16; they come back in
            float32.
        rows_per_file: divide the rows into files of so many. Those that a killed call has written
            are not computed again.

    Raises:
        ValueError: the dataset or all of its rows lack the modality, rows have different shapes, a
            transform or the teacher's forward is random, a hidden tensor is unknown, the teacher
            returns something else than Outputs, NaN or infinity, or a number too large for
            `dtype`; it has a setting that cannot be read, and no `key`; a number out of range; or
            the modality's name leads out of `root`.
        OSError: a file cannot be written; names it.
    """
    dataset = as_paired(dataset)
    _check(dataset, modality, dtype, batch_size, top_k, rows_per_file)
    rows = dataset.rows_with(modality).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"no row of the dataset has {modality}; there is nothing to cache")
    where = device_of(teacher) if device is None else torch.device(device)
    run = TeacherPass(dataset, teacher, modality, tuple(hidden), batch_size, where, view)
    run.refuse_random_rows(rows)
    teacher_key = digest_teacher(teacher, key)
    kept = f"{VERSION} {key!r} {top_k} {dtype} {where.type}"
    folder = Path(default_root("teachers") if root is None else root).expanduser()

    def part(first: int, last: int) -> dict[str, Tensor]:
        """The outputs of the rows from `first` to before `last`; none where they lack them."""
        some = rows[(rows >= first) & (rows < last)]
        if not len(some):
            return {}
        data_key = run.digest_rows(some)
        place = digest(teacher_key, data_key, kept, str(first), str(last), *sorted(hidden))
        return stored_tensors(
            folder / f"{modality}-{place}.safetensors",
            lambda: _lean(run.outputs(some, first, last, data_key), top_k, dtype),
        )

    count = len(dataset)
    size = rows_per_file or count
    spans = [(first, min(first + size, count)) for first in range(0, count, size)]
    parts = [part(*span) for span in spans]
    lengths = [last - first for first, last in spans]
    outputs = _outputs(_joined(parts, lengths), dtype)
    return dataset.with_outputs(modality, outputs, name)


def _check(
    dataset: PairedDataset,
    modality: str,
    dtype: torch.dtype | None,
    batch_size: int,
    top_k: int | None,
    rows_per_file: int | None,
) -> None:
    numbers = {"batch_size": batch_size, "top_k": top_k, "rows_per_file": rows_per_file}
    for option, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{option} must be at least 1, got {number}")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point one such as torch.float16, got {dtype}")
    if modality not in dataset.inputs:
        raise ValueError(
            f"cannot cache the {modality} teacher: the dataset has the inputs "
            f"{list(dataset.modalities)}; pass one of them as modality"
        )
    plain_name(modality, "the modality")


def _lean(
    made: dict[str, Tensor], top_k: int | None, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The outputs as they are kept: few logits, in a smaller type."""
    if top_k is not None and LOGITS in made:
        made = {**made, **few_logits(made[LOGITS], top_k)}
        del made[LOGITS]
    return made if dtype is None else {name: _as(dtype, name, one) for name, one in made.items()}


def _as(dtype: torch.dtype, name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    smaller = tensor.to(dtype)
    if not bool(smaller.float().isfinite().all()):
        raise ValueError(
            f"the teacher's {name} has values up to {float(tensor.abs().max()):.3g}, which {dtype} "
            "cannot hold; take torch.bfloat16, or leave dtype out"
        )
    return smaller


def _joined(parts: list[dict[str, Tensor]], lengths: list[int]) -> dict[str, Tensor]:
    """The rows of all parts; zeros where a part has no row with the modality."""
    if len(parts) == 1:
        return parts[0]
    full = next(part for part in parts if part)
    return {
        name: torch.cat(
            [
                part[name] if part else example.new_zeros(length, *example.shape[1:])
                for part, length in zip(parts, lengths, strict=True)
            ]
        )
        for name, example in full.items()
    }


def cached_logits(dataset: PairedDataset, modality: str, caller: str) -> Float[Tensor, "n k"]:
    """A teacher's cached logits, for what changes them.

    Raises:
        ValueError: there are none; names the caller.
    """
    cached = dataset.cached.get(modality)
    if cached is None or cached.logits is None:
        raise ValueError(
            f"{caller} needs cached logits of the {modality!r} teacher, the dataset has cached "
            f"outputs of {sorted(dataset.cached)}; call cache_teacher first, with a teacher that "
            "has a classifier"
        )
    return cached.logits


def _outputs(stored: dict[str, Tensor], dtype: torch.dtype | None) -> Outputs:
    if dtype is not None:
        stored = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in stored.items()
        }
    stored = all_logits(stored)
    return Outputs(
        embedding=stored[EMBEDDING],
        logits=stored.get(LOGITS),
        hidden={
            name.removeprefix(HIDDEN): tensor
            for name, tensor in stored.items()
            if name.startswith(HIDDEN)
        },
    )
