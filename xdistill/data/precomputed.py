"""Teacher outputs that were computed elsewhere: arrays, files, another library's model."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.data.paired import PairedDataset
from xdistill.data.target import SUM_TOLERANCE
from xdistill.types import Outputs

Array = Tensor | np.ndarray | Sequence[Any] | str | os.PathLike[str]
"""Numbers of M rows, or a file of them: .npy, .npz, .csv or .safetensors."""


def precomputed(
    dataset: PairedDataset,
    modality: str,
    *,
    probabilities: Array | None = None,
    logits: Array | None = None,
    embedding: Array | None = None,
    ids: Sequence[str] | None = None,
) -> PairedDataset:
    """The dataset with outputs of a teacher that is not here, in place of the teacher's inputs.

    `Distiller(student, None, loss)` finds them. Probabilities become logits by their logarithm, of
    which the softmax is the probabilities again, so that every loss on logits is as with the
    teacher itself; a probability of 0 counts as the smallest that float32 holds. A row that is NaN
    throughout has no teacher (`valid`).

    Args:
        dataset: its rows.
        modality: what the teacher saw, and the name of its outputs.
        probabilities: [M, K] of the classes, or [M, L, K].
        logits: [M, K] instead, or [M, L, K].
        embedding: [M, D]. Without one, losses on embeddings are refused.
        ids: [M] names of the rows, by which they are found in `dataset.ids`, in any order; further
            rows are left out, and rows of the dataset that are not among them have no teacher,
            which a warning counts. None: row i belongs to row i.

    Raises:
        ValueError: no outputs or both of probabilities and logits, other numbers of rows, names
            that repeat or that the dataset does not have, probabilities that do not sum to 1, or a
            number that is not finite in a row that is not NaN throughout.
        OSError: a file that cannot be read.
    """
    given = {"probabilities": probabilities, "logits": logits, "embedding": embedding}
    arrays = {name: _array(name, one) for name, one in given.items() if one is not None}
    if not arrays or len(arrays.keys() & {"probabilities", "logits"}) > 1:
        raise ValueError(
            f"precomputed takes probabilities or logits, an embedding, or both, got "
            f"{sorted(arrays) or 'none of them'}"
        )
    lengths = {name: len(one) for name, one in arrays.items()}
    if ids is not None:
        lengths["ids"] = len(ids)
    if len(set(lengths.values())) > 1:
        raise ValueError(f"precomputed outputs need one number of rows, got {lengths}")
    rows = _rows(dataset, modality, next(iter(lengths.values())), ids)
    valid = (rows >= 0) & dataset.rows_with(modality)
    placed = {name: one[rows.clamp(min=0)] for name, one in arrays.items()}
    for one in placed.values():
        valid &= ~one.isnan().flatten(1).all(dim=1)
    if not bool(valid.any()):
        raise ValueError(f"no row of the dataset has outputs of {modality}; compare the ids")
    for name, one in placed.items():
        _check(dataset, name, one, valid)
    clean = {name: torch.where(_like(valid, one), one, 0.0) for name, one in placed.items()}
    outputs = _outputs(clean, valid)
    with_outputs = dataset.with_outputs(modality, outputs)
    return with_outputs.replace(valid={**dataset.valid, modality: valid})


def _array(name: str, given: Array) -> Float[Tensor, "m ..."]:
    """Numbers of M rows as float32.

    Raises:
        ValueError: no floating numbers of two or three axes.
    """
    read = _read(name, Path(given)) if isinstance(given, str | os.PathLike) else given
    tensor = read if isinstance(read, Tensor) else torch.as_tensor(np.asarray(read))
    if tensor.is_complex() or tensor.ndim not in (2, 3) or not tensor.numel():
        raise ValueError(
            f"{name} must be real numbers [M, K] or [M, L, K], got {list(tensor.shape)} of "
            f"{tensor.dtype}"
        )
    return tensor.detach().cpu().to(torch.float32)


def _read(name: str, path: Path) -> Any:
    """The array in a file; of several that it holds, the one of this name."""
    kind = path.suffix.lower()
    if kind == ".npy":
        return np.load(path, allow_pickle=False)
    if kind == ".csv":
        return _read_csv(path)
    if kind == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[_named(name, path, arrays.files)]
    if kind == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as tensors:
            return tensors.get_tensor(_named(name, path, list(tensors.keys())))
    raise ValueError(
        f"cannot read {name} from {path}: expected a .npy, .npz, .csv or .safetensors file, or "
        "load it yourself and pass the array"
    )


def _named(name: str, path: Path, held: Sequence[str]) -> str:
    if name in held or len(held) == 1:
        return name if name in held else held[0]
    raise ValueError(f"{path} holds {sorted(held)} and no {name!r}; pass the array itself")


def _read_csv(path: Path) -> np.ndarray:
    """Numbers separated by commas, below a line of names or not."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    try:
        return np.array(lines, dtype=np.float32)
    except ValueError:
        body = lines[1:]
    try:
        return np.array(body, dtype=np.float32)
    except ValueError as error:
        raise ValueError(
            f"{path} holds something else than rows of equally many numbers ({error}); keep the "
            "names of rows in another file and pass them as ids"
        ) from error


def _rows(
    dataset: PairedDataset, modality: str, count: int, ids: Sequence[str] | None
) -> Int64[Tensor, " n"]:
    """For each row of the dataset that of the outputs, -1 where there is none."""
    if ids is None:
        if count != len(dataset):
            raise ValueError(
                f"the outputs of {modality} have {count} rows, the dataset {len(dataset)}; pass "
                "ids=, the names of their rows, by which they are found"
            )
        return torch.arange(count)
    place = {str(one): row for row, one in enumerate(ids)}
    if len(place) < len(ids):
        twice = next(one for row, one in enumerate(ids) if place[str(one)] != row)
        raise ValueError(f"ids name {twice!r} twice; give each row of the outputs its own name")
    rows = torch.tensor([place.get(one, -1) for one in dataset.ids])
    missing = int((rows < 0).sum())
    if missing == len(dataset):
        raise ValueError(
            f"the outputs of {modality} name rows such as {str(ids[0])!r}, the dataset rows such "
            f"as {dataset.ids[0]!r}: none is in both"
        )
    if missing:
        first = dataset.ids[int((rows < 0).nonzero()[0])]
        warnings.warn(
            f"{missing} of {len(dataset)} rows have no outputs of {modality} (first: {first}); "
            "they are used without a teacher",
            stacklevel=3,
        )
    return rows


def _check(dataset: PairedDataset, name: str, rows: Tensor, valid: Bool[Tensor, " n"]) -> None:
    """Refuse rows that have a teacher and are not finite, or are no probabilities."""
    finite = rows.isfinite().flatten(1).all(dim=1)
    if len(wrong := (valid & ~finite).nonzero().flatten()):
        raise ValueError(
            f"{name} of row {dataset.ids[int(wrong[0])]} is NaN in part or infinite; a row without "
            "a teacher is NaN throughout"
        )
    if name == "embedding":
        return
    if dataset.classes and rows.shape[-1] != len(dataset.classes):
        raise ValueError(
            f"{name} has {rows.shape[-1]} columns, the dataset {len(dataset.classes)} classes; "
            "bring the columns to the order of dataset.classes"
        )
    if name == "probabilities":
        total = rows.sum(dim=-1)
        right = (rows >= 0).all(dim=-1) & ((total - 1).abs() <= SUM_TOLERANCE)
        if len(wrong := (valid & ~right.reshape(len(rows), -1).all(dim=1)).nonzero().flatten()):
            row = int(wrong[0])
            raise ValueError(
                f"probabilities of row {dataset.ids[row]} are {rows[row].tolist()}, expected "
                "numbers from 0 that sum to 1; pass scores before the softmax as logits"
            )


def _like(valid: Bool[Tensor, " n"], rows: Tensor) -> Tensor:
    return valid.reshape(-1, *[1] * (rows.ndim - 1))


def _outputs(clean: dict[str, Tensor], valid: Bool[Tensor, " n"]) -> Outputs:
    logits = clean.get("logits")
    if "probabilities" in clean:
        tiny = torch.finfo(torch.float32).tiny
        log_p = clean["probabilities"].clamp(min=tiny).log()
        logits = torch.where(_like(valid, log_p), log_p, 0.0)
    return Outputs(clean.get("embedding", torch.zeros(len(valid), 0)), logits)
