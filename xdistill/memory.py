"""State that a loss keeps from earlier batches: a queue of keys, and slow copies of modules."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, distributed, nn

from xdistill.numerics import gather_processes

UNKNOWN = -1
"""Label of an unlabelled key, and sample index of a key whose sample is unknown."""


class _Rows(NamedTuple):
    """Keys to be written to a bank; those with keep = False are not written."""

    keys: Float[Tensor, "b d"]
    labels: Int64[Tensor, " b"]
    indices: Int64[Tensor, " b"]
    keep: Bool[Tensor, " b"]


class MemoryBank(nn.Module):
    """The last Q keys of training, first in, first out.

    All state lies in buffers of fixed size. It is part of the `state_dict`, moves with the module,
    and no operation waits for the device. A write changes the buffers in place, so an autograd
    graph needs a copy of what it saves.

    Args:
        size: number Q of slots.
        dim: width D of a key.

    Attributes:
        keys: [Q, D], zeros in empty slots.
        labels: [Q] class, -1 where unlabelled or empty.
        indices: [Q] sample index, -1 where unknown or empty.
        pointer: the slot to be written next.
        filled: number of slots in use.
    """

    keys: Tensor
    labels: Tensor
    indices: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int):
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"a memory bank needs size and dim of at least 1, got {size}, {dim}")
        self.size = size
        self.dim = dim
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), UNKNOWN, dtype=torch.int64))
        self.register_buffer("indices", torch.full((size,), UNKNOWN, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @property
    def occupied(self) -> Bool[Tensor, " q"]:
        """The slots that hold a key."""
        return torch.arange(self.size, device=self.filled.device) < self.filled

    @torch.no_grad()
    def enqueue(
        self,
        keys: Float[Tensor, "b d"],
        labels: Int64[Tensor, " b"] | None = None,
        indices: Int64[Tensor, " b"] | None = None,
        valid: Bool[Tensor, " b"] | None = None,
    ) -> None:
        """Write the rows with valid = True and without NaN over the oldest keys, in their order.

        Under `torch.distributed` every rank writes the rows of all ranks in rank order, so that all
        banks stay equal; therefore all ranks must call this. Ranks may have different numbers of
        rows, for which the host reads one number; it does not wait for the device otherwise.

        Raises:
            ValueError: keys of another width, or another number of labels, indices or `valid`.
            TypeError: a `valid` that is not bool.
        """
        if keys.ndim != 2 or keys.shape[1] != self.dim:
            raise ValueError(
                f"the bank holds keys [*, {self.dim}], got {list(keys.shape)}; bind the loss to "
                "the encoder that it is used with"
            )
        for name, tensor in (("labels", labels), ("indices", indices), ("valid", valid)):
            if tensor is not None and tuple(tensor.shape) != (len(keys),):
                raise ValueError(
                    f"{name} must be [{len(keys)}], one for each key, got {list(tensor.shape)}"
                )
        if valid is not None and valid.dtype != torch.bool:
            raise TypeError(f"valid must be bool, got {valid.dtype}; use valid == 1")
        unknown = torch.full((len(keys),), UNKNOWN, dtype=torch.int64, device=keys.device)
        rows = _Rows(
            keys=keys.to(self.keys.dtype),
            labels=unknown if labels is None else labels.long(),
            indices=unknown if indices is None else indices.long(),
            # A NaN would stay for as long as the bank is not overwritten.
            keep=~keys.isnan().any(dim=1) & (True if valid is None else valid),
        )
        rows = gather_ranks(rows)
        for start in range(0, len(rows.keep), self.size):
            self._write(_Rows(*(tensor[start : start + self.size] for tensor in rows)))

    def _write(self, rows: _Rows) -> None:
        """Write at most Q rows.

        Rows with keep = False are moved to the end and write the old content of their slot, which
        keeps every shape independent of the data.
        """
        first = rows.keep.to(torch.int8).argsort(descending=True, stable=True)
        keep = rows.keep[first]
        slots = (self.pointer + torch.arange(len(keep), device=keep.device)) % self.size
        for buffer, new in (
            (self.keys, rows.keys[first]),
            (self.labels, rows.labels[first]),
            (self.indices, rows.indices[first]),
        ):
            counts = keep.view(-1, *[1] * (new.ndim - 1))
            buffer.index_copy_(0, slots, torch.where(counts, new, buffer[slots]))
        written = keep.sum()
        self.pointer.copy_((self.pointer + written) % self.size)
        self.filled.copy_((self.filled + written).clamp(max=self.size))

    def extra_repr(self) -> str:
        return f"size={self.size}, dim={self.dim}"


def gather_ranks(rows: _Rows) -> _Rows:
    """The rows of all ranks in rank order; the same rows if there is only one process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    if distributed.get_world_size() == 1:
        return rows
    counts = gather_processes(torch.tensor([len(rows.keep)], device=rows.keep.device))
    longest = int(counts.max())
    # padding has keep = False
    return _Rows(*(gather_processes(_pad(tensor, longest)) for tensor in rows))


def _pad(tensor: Tensor, rows: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros((rows - len(tensor), *tensor.shape[1:]))])


class EMA(nn.Module):
    """A slow copy of a module: m · copy + (1 − m) · source after every `update`.

    The copy stays in eval mode, also after `.train()`, and gets no gradient. Buffers follow the
    source, too: floating-point ones (the running statistics of BatchNorm) are averaged like
    parameters, others (its counter) are copied. Both are part of the `state_dict`.

    Args:
        module: the source, copied in its present state.
        momentum: m; He et al., MoCo, 2020, section 3.2, use 0.999.
    """

    def __init__(self, module: nn.Module, momentum: float = 0.999):
        super().__init__()
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum must lie between 0 and 1, got {momentum}")
        self.momentum = momentum
        self.module = copy.deepcopy(module)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> EMA:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the source.

        Raises:
            ValueError: the source has other parameters or buffers than the copy.
        """
        source = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        copies = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        if source.keys() != copies.keys():
            odd = sorted(source.keys() ^ copies.keys())
            raise ValueError(f"the module differs from the one that was copied, in {odd}")
        for name, own in copies.items():
            if own.is_floating_point():
                own.lerp_(source[name].to(own.dtype), 1.0 - self.momentum)
            else:
                own.copy_(source[name])

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        """The output of the copy."""
        return self.module(*args, **kwargs)
