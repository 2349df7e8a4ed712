"""The outputs of a frozen teacher, computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from xdistill.data.any_dataset import as_paired
from xdistill.data.frozen import device_of, frozen
from xdistill.data.paired import PairedDataset
from xdistill.data.store import default_root, digest, stored_tensors, update
from xdistill.types import Outputs

VERSION = 1
TWICE_READ_ROWS = 8


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
) -> PairedDataset:
    """The dataset with a frozen teacher's outputs in place of the teacher's inputs.

    The teacher runs once for each row, in eval mode, without gradient and without autocast. Its
    embedding, logits and the named hidden tensors are stored without loss in a file whose name is a
    digest of the teacher's weights, buffers and settings and of every row, transforms included.
    Another call with the same arguments memory-maps that file and runs nothing. Rows without the
    modality hold zeros.

    The code of the teacher's `forward` is not part of the digest: delete the file if it changes.

    Args:
        dataset: has the modality in `inputs`, without a random transform; `as_paired` takes it.
        teacher: takes [B, ...] rows of the modality and returns Outputs.
        modality: the one that the teacher takes.
        name: the teacher's in the `Distiller`, where several teachers share a modality: its inputs
            are kept for the others. None: the modality.
        root: folder of the files; `default_root("teachers")` when None.
        hidden: names of the hidden tensors that a loss will need. They are large, so none is kept
            by default.
        batch_size: number of rows in a batch of the teacher.
        device: where the teacher runs; None is where its parameters are.

    Raises:
        ValueError: the dataset or all of its rows lack the modality, rows have different shapes, a
            transform is random, a hidden tensor is unknown, or the teacher returns something else
            than Outputs, NaN or infinity.
    """
    dataset = as_paired(dataset)
    if modality not in dataset.inputs:
        raise ValueError(
            f"cannot cache the {modality} teacher: the dataset has the inputs "
            f"{list(dataset.modalities)}; pass one of them as modality"
        )
    rows = dataset.rows_with(modality).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"no row of the dataset has {modality}; there is nothing to cache")
    _refuse_random(dataset, modality, rows)
    where = device_of(teacher) if device is None else torch.device(device)
    data_key = _digest_rows(dataset, modality, rows)
    key = digest(_digest_teacher(teacher), data_key, where.type, *sorted(hidden))
    folder = Path(default_root("teachers") if root is None else root).expanduser()

    def make() -> dict[str, Tensor]:
        return _run(dataset, teacher, modality, rows, hidden, batch_size, where, data_key)

    stored = stored_tensors(folder / f"{modality}-{key}.safetensors", make)
    return dataset.with_outputs(modality, _outputs(stored), name)


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


def _run(
    dataset: PairedDataset,
    teacher: nn.Module,
    modality: str,
    rows: Int64[Tensor, " n"],
    hidden: Sequence[str],
    batch_size: int,
    device: torch.device,
    data_key: bytes,
) -> dict[str, Tensor]:
    """Each output of the teacher as a tensor with one row for each row of the dataset."""
    hasher, result = _row_hasher(dataset), {}
    with frozen(teacher, device):
        for chunk in rows.split(batch_size):
            samples = [dataset.read(modality, row) for row in chunk.tolist()]
            for row, sample in zip(chunk.tolist(), samples, strict=True):
                update(hasher, str(row), sample)
            outputs = teacher(_stack(dataset, modality, chunk, samples).to(device))
            outputs = _named(outputs, chunk, hidden)
            for name, tensor in outputs.items():
                _refuse_nonfinite(dataset, modality, name, chunk, tensor)
                if name not in result:
                    shape = (len(dataset), *tensor.shape[1:])
                    result[name] = torch.zeros(shape, dtype=tensor.dtype)
                result[name][chunk] = tensor.cpu()
    if hasher.digest() != data_key:
        raise ValueError(_random_message(modality))
    return result


def _named(outputs: object, rows: Tensor, hidden: Sequence[str]) -> dict[str, Tensor]:
    if not isinstance(outputs, Outputs):
        raise ValueError(
            f"a teacher returns xdistill.Outputs, got {type(outputs).__name__}; wrap its result"
        )
    named = {"embedding": outputs.embedding, "logits": outputs.logits}
    missing = [name for name in hidden if name not in outputs.hidden]
    if missing:
        raise ValueError(
            f"the teacher has no hidden tensor {missing}; it returns {sorted(outputs.hidden)}"
        )
    named |= {f"hidden.{name}": outputs.hidden[name] for name in hidden}
    present = {name: tensor for name, tensor in named.items() if tensor is not None}
    for name, tensor in present.items():
        if len(tensor) != len(rows):
            raise ValueError(
                f"the teacher's {name} has {len(tensor)} rows for a batch of {len(rows)}; its "
                "first axis must be the batch"
            )
    return present


def _outputs(stored: dict[str, Tensor]) -> Outputs:
    prefix = "hidden."
    return Outputs(
        embedding=stored["embedding"],
        logits=stored.get("logits"),
        hidden={
            name.removeprefix(prefix): tensor
            for name, tensor in stored.items()
            if name.startswith(prefix)
        },
    )


def _stack(dataset: PairedDataset, modality: str, rows: Tensor, samples: list[Tensor]) -> Tensor:
    shapes = sorted({tuple(sample.shape) for sample in samples})
    if len(shapes) > 1:
        raise ValueError(
            f"{modality}: rows {dataset.ids[int(rows[0])]} to {dataset.ids[int(rows[-1])]} have "
            f"shapes {shapes}; give the dataset a transform that brings them to one shape"
        )
    return torch.stack(samples)


def _refuse_nonfinite(
    dataset: PairedDataset, modality: str, name: str, rows: Tensor, tensor: Tensor
) -> None:
    bad = ~torch.isfinite(tensor).reshape(len(rows), -1).all(dim=1).cpu()
    if bool(bad.any()):
        raise ValueError(
            f"the {modality} teacher's {name} is NaN or infinite for row "
            f"{dataset.ids[int(rows[bad][0])]}; clean its inputs with xdistill.data.audit first"
        )


def _refuse_random(dataset: PairedDataset, modality: str, rows: Int64[Tensor, " n"]) -> None:
    step = max(1, len(rows) // TWICE_READ_ROWS)
    for row in rows[::step].tolist():
        one = torch.tensor([row])
        if _digest_rows(dataset, modality, one) != _digest_rows(dataset, modality, one):
            raise ValueError(_random_message(modality))


def _random_message(modality: str) -> str:
    return (
        f"reading one row of {modality} twice gave different values, so its transform (or column) "
        "is random, but a cached teacher needs the same input every time; remove the augmentation "
        f"from transforms[{modality!r}] or do not cache this teacher"
    )


def _digest_rows(dataset: PairedDataset, modality: str, rows: Int64[Tensor, " n"]) -> bytes:
    hasher = _row_hasher(dataset)
    for row in rows.tolist():
        update(hasher, str(row), dataset.read(modality, row))
    return hasher.digest()


def _row_hasher(dataset: PairedDataset) -> blake2b:
    return blake2b(f"{len(dataset)} rows;".encode())


def _digest_teacher(teacher: nn.Module) -> bytes:
    """A digest of its class, repr, plain settings and all tensors, also non-persistent ones."""
    hasher = blake2b(f"{VERSION} {torch.__version__} {teacher!r}".encode())
    for path, module in teacher.named_modules():
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        hasher.update(f"{path} {kind} {_settings(module)}".encode())
    tensors = {**dict(teacher.named_buffers(remove_duplicate=False)), **teacher.state_dict()}
    for name, value in tensors.items():
        if isinstance(value, Tensor):
            update(hasher, name, value)
        else:  # extra state that a module keeps besides its tensors
            hasher.update(f"{name} {value!r};".encode())
    return hasher.digest()


def _settings(module: nn.Module) -> list[tuple[str, object]]:
    plain = (bool, int, float, str, tuple, type(None))
    return [
        (name, value)
        for name, value in sorted(vars(module).items())
        if name != "training" and not name.startswith("_") and isinstance(value, plain)
    ]
