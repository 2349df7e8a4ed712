"""One pass of a frozen teacher over the rows of a dataset, which must be the same each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from xdistill.data.frozen import frozen
from xdistill.data.paired import PairedDataset
from xdistill.storage.checksums import add_tensor
from xdistill.types import Outputs

EMBEDDING = "embedding"
HIDDEN = "hidden."
TWICE_READ_ROWS = 8
NOISE = 1e-3
"""On a GPU two passes may differ by rounding; noise is a larger share of the largest value."""


@dataclass(frozen=True)
class TeacherPass:
    """A teacher, the rows that it takes, and how.

    Attributes:
        dataset: has the modality in `inputs`.
        teacher: takes [B, ...] rows of the modality and returns Outputs.
        modality: the teacher's.
        hidden: names of hidden tensors to keep.
        batch_size: rows of a batch.
        device: where the teacher runs.
        view: number of an augmented view, part of the seed of each row; None seeds nothing.
    """

    dataset: PairedDataset
    teacher: nn.Module
    modality: str
    hidden: tuple[str, ...]
    batch_size: int
    device: torch.device
    view: int | None = None

    def read(self, row: int) -> Tensor:
        """A row of the modality, transformed."""
        if self.view is None:
            return self.dataset.read(self.modality, row)
        with _seeded(self.view, row):
            return self.dataset.read(self.modality, row)

    def digest_rows(self, rows: Int64[Tensor, " n"]) -> bytes:
        """A digest of the teacher's inputs at these rows."""
        hasher = self._hasher()
        for row in rows.tolist():
            add_tensor(hasher, str(row), self.read(row))
        return hasher.digest()

    def refuse_random_rows(self, rows: Int64[Tensor, " n"]) -> None:
        """Read some rows twice.

        Raises:
            ValueError: they differ.
        """
        step = max(1, len(rows) // TWICE_READ_ROWS)
        for row in rows[::step].tolist():
            one = torch.tensor([row])
            if self.digest_rows(one) != self.digest_rows(one):
                raise ValueError(self._random_rows())

    def outputs(
        self, rows: Int64[Tensor, " n"], first: int, last: int, data_key: bytes
    ) -> dict[str, Tensor]:
        """Each output as a tensor with one row for each row from `first` to before `last`.

        Args:
            rows: those of them that have the modality.
            first: the first row.
            last: the row after the last.
            data_key: what `digest_rows` said of the rows.

        Raises:
            ValueError: rows of different shapes, random rows, a random forward, or outputs that
                are unusable.
        """
        hasher, result = self._hasher(), {}
        with frozen(self.teacher, self.device):
            for chunk in rows.split(self.batch_size):
                samples = [self.read(row) for row in chunk.tolist()]
                for row, sample in zip(chunk.tolist(), samples, strict=True):
                    add_tensor(hasher, str(row), sample)
                batch = self._suited(self._stack(chunk, samples).to(self.device))
                outputs = self._named(self.teacher(batch), chunk)
                for name, tensor in outputs.items():
                    self._refuse_nonfinite(name, chunk, tensor)
                    if name not in result:
                        shape = (last - first, *tensor.shape[1:])
                        result[name] = torch.zeros(shape, dtype=tensor.dtype)
                    result[name][chunk - first] = tensor.cpu()
                if chunk[0] == rows[0] or chunk[-1] == rows[-1]:
                    self._refuse_noise(outputs, self._named(self.teacher(batch), chunk))
        if hasher.digest() != data_key:
            raise ValueError(self._random_rows())
        return result

    def _hasher(self) -> blake2b:
        return blake2b(f"{len(self.dataset)} rows;".encode())

    def _suited(self, batch: Tensor) -> Tensor:
        """A floating batch in the precision of the teacher's parameters."""
        weights = next((one for one in self.teacher.parameters() if one.is_floating_point()), None)
        if weights is None or not batch.is_floating_point():
            return batch
        return batch.to(weights.dtype)

    def _named(self, outputs: object, rows: Tensor) -> dict[str, Tensor]:
        if not isinstance(outputs, Outputs):
            raise ValueError(
                f"a teacher returns xdistill.Outputs, got {type(outputs).__name__}; wrap its result"
            )
        named = {EMBEDDING: outputs.embedding, "logits": outputs.logits}
        missing = [name for name in self.hidden if name not in outputs.hidden]
        if missing:
            raise ValueError(
                f"the teacher has no hidden tensor {missing}; it returns {sorted(outputs.hidden)}"
            )
        named |= {f"{HIDDEN}{name}": outputs.hidden[name] for name in self.hidden}
        present = {name: tensor for name, tensor in named.items() if tensor is not None}
        for name, tensor in present.items():
            if len(tensor) != len(rows):
                raise ValueError(
                    f"the teacher's {name} has {len(tensor)} rows for a batch of {len(rows)}; its "
                    "first axis must be the batch"
                )
        return present

    def _stack(self, rows: Tensor, samples: list[Tensor]) -> Tensor:
        shapes = sorted({tuple(sample.shape) for sample in samples})
        if len(shapes) > 1:
            ids = self.dataset.ids
            raise ValueError(
                f"{self.modality}: rows {ids[int(rows[0])]} to {ids[int(rows[-1])]} have "
                f"shapes {shapes}; give the dataset a transform that brings them to one shape"
            )
        return torch.stack(samples)

    def _refuse_nonfinite(self, name: str, rows: Tensor, tensor: Tensor) -> None:
        bad = ~torch.isfinite(tensor).reshape(len(rows), -1).all(dim=1).cpu()
        if bool(bad.any()):
            raise ValueError(
                f"the {self.modality} teacher's {name} is NaN or infinite for row "
                f"{self.dataset.ids[int(rows[bad][0])]}; clean its inputs with xdistill.data.audit "
                "first"
            )

    def _refuse_noise(self, first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
        for name, tensor in first.items():
            gap = float((tensor.double() - second[name].double()).abs().max())
            allowed = 0.0 if self.device.type == "cpu" else NOISE * float(tensor.abs().max())
            if not gap <= allowed:
                raise ValueError(
                    f"two passes of the {self.modality} teacher over the same rows differ by "
                    f"{gap:.2g} in its {name}, so its forward is random or keeps a state, even in "
                    "eval mode; take that out of it, or do not cache this teacher"
                )

    def _random_rows(self) -> str:
        return (
            f"reading one row of {self.modality} twice gave different values, so its transform (or "
            "column) is random, but a cached teacher needs the same input every time; remove the "
            f"augmentation from transforms[{self.modality!r}], cache views of it with view=0, "
            "view=1, …, or do not cache this teacher"
        )


@contextmanager
def _seeded(view: int, row: int) -> Iterator[None]:
    """The generators of torch, NumPy and Python with a seed of a view and a row, then as before."""
    seed = int.from_bytes(blake2b(f"{view} {row}".encode(), digest_size=4).digest(), "little")
    numpys, pythons = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)
