"""Every kernel over several processes, compared with one process. Run by `test_distributed`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import xdistill as xd
from tests.losses.largest_tensor import LargestTensor
from xdistill import kernels
from xdistill.kernels.tiled import passes as tiled

ROWS = 5  # of each process
GATHERS = ("all", "ring")
IMPLS = ("tiled", "reference")


class Case(NamedTuple):
    """A call on the whole batch.

    Attributes:
        name: what differs.
        call: of rows, keys, scale and bias, and of those options that belong to rows.
        rows: tensors with one entry for each row of the batch.
        gathers: the values of `gather` that it supports.
    """

    name: str
    call: Callable[..., Tensor]
    rows: dict[str, Tensor]
    gathers: tuple[str, ...] = GATHERS


def cases(size: int, dtype: torch.dtype) -> Iterator[Case]:
    """Every kernel with labels, masks, unlabelled rows and extra keys."""
    g = torch.Generator().manual_seed(size)
    n = ROWS * size
    label = torch.randint(-1, 3, (n,), generator=g)
    valid = torch.rand(n, generator=g) < 0.7
    extra = F.normalize(torch.randn(4, 6, generator=g, dtype=dtype), dim=1)
    of_extra = {"extra": extra, "extra_valid": torch.tensor([True, False, True, True])}
    labels_of_extra = {**of_extra, "extra_labels": torch.tensor([0, 1, -1, 2])}
    index = torch.randint(-1, n, (n,), generator=g)

    for masked, more in itertools.product((False, True), repeat=2):
        mask = {"valid": valid} if masked else {}
        name = f"{'masked ' if masked else ''}{'extra' if more else ''}"
        extras: dict[str, Any] = of_extra if more else {}
        yield Case(f"infonce {name}", lambda a, k, s, b, e=extras, **o: kernels.infonce(
            a, k, s, **e, **o), mask)  # fmt: skip
        yield Case(f"siglip {name}", lambda a, k, s, b, e=extras, **o: kernels.siglip(
            a, k, s, b, **e, **o), mask)  # fmt: skip
        for function, labelled in itertools.product(
            (kernels.supcon, kernels.multiclass_nce), (False, True)
        ):
            extras = (labels_of_extra if labelled else of_extra) if more else {}

            def call(a, k, s, b, label=None, function=function, extras=extras, **options):
                return function(a, k, s, label, label, paired=True, **extras, **options)

            rows = {**mask, "label": label} if labelled else mask
            yield Case(f"{function.__name__} {labelled} {name}", call, rows)
        if more:
            continue
        yield Case(f"affinity_kl {name}", lambda a, k, s, b, **o: kernels.affinity_kl(
            a, k.detach(), 1 / s, teacher_temperature=0.2, **o), mask)  # fmt: skip
        yield Case(f"neighbours {name}", lambda a, k, s, b, **o: kernels.affinity_kl(
            a, k.detach(), 1 / s, neighbours=3, **o), mask, ("all",))  # fmt: skip

        def keyed(a, k, s, b, valid=None, **options):
            options |= {
                "valid": valid,
                "key_valid": valid,
                "student_keys": k,
                "teacher_keys": a.detach(),
            }
            return kernels.affinity_kl(a, k.detach(), 1 / s, **options)

        yield Case(f"affinity_kl with keys {name}", keyed, mask)
        for form, mining in itertools.product(
            ("triplet", "nce"), ("semihard", "hard", "random", "all")
        ):

            def mined(a, k, s, b, label, form=form, mining=mining, **options):
                options |= {
                    "bank": extra,
                    "bank_labels": torch.tensor([0, 1, -1, 2]),
                    "num_negatives": 2,
                }
                return kernels.khn(a, k, label, form=form, mining=mining, **options)

            rows = {**mask, "label": label, "index": index}
            yield Case(f"khn {form} {mining} {name}", mined, rows, ("all",))

    yield Case("supcon of other keys", lambda a, k, s, b, label, other, **o: kernels.supcon(
        a, k, s, label, other, **o), {"label": label, "other": label.flip(0)})  # fmt: skip


def gradients(case: Case, part: slice, size: int, dtype: torch.dtype, **options) -> list[Tensor]:
    """Value and gradients in rows, keys, scale and bias of a part of the batch."""
    g = torch.Generator().manual_seed(1)
    a, k = (
        F.normalize(torch.randn(ROWS * size, 6, generator=g, dtype=dtype), dim=1)[part]
        for _ in range(2)
    )
    inputs = [a, k, torch.tensor(6.0, dtype=dtype), torch.tensor(-3.0, dtype=dtype)]
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = case.call(*inputs, **{name: x[part] for name, x in case.rows.items()}, **options)
    found = torch.autograd.grad(value, inputs, allow_unused=True)
    missing = (torch.zeros_like(x) for x in inputs)
    return [value.detach(), *(m if x is None else x for x, m in zip(found, missing, strict=True))]


def worst_differences(rank: int, size: int) -> dict[str, float]:
    """The difference from one process, for every case, implementation and gather."""
    part = slice(rank * ROWS, (rank + 1) * ROWS)
    worst = {}
    for dtype in (torch.float64, torch.float32):
        for case in cases(size, dtype):
            expected = gradients(case, slice(None), size, dtype, impl="reference")
            expected[1:3] = (x[part] for x in expected[1:3])
            for gather, impl in itertools.product(case.gathers, IMPLS):
                found = gradients(case, part, size, dtype, impl=impl, gather=gather)
                for shared in found[3:]:
                    dist.all_reduce(shared)
                error = max(
                    (one - two).abs().max().item() for one, two in zip(found, expected, strict=True)
                )
                worst[f"{case.name} {gather} {impl} {dtype}"] = error
    return worst


def refusals(rank: int, size: int) -> list[str]:
    """The errors for batches of different sizes, and for a ring where there is none."""
    a = F.normalize(torch.randn(4 + (rank == 1), 3), dim=1)
    labels = torch.zeros(len(a), dtype=torch.int64)
    said = []
    for gather in GATHERS:
        for call in (
            lambda gather=gather: kernels.infonce(a, a, 1.0, gather=gather),
            lambda gather=gather: kernels.siglip(a, a, 1.0, 0.0, gather=gather),
            lambda gather=gather: kernels.supcon(a, a, 1.0, labels, labels, gather=gather),
            lambda gather=gather: kernels.affinity_kl(a, a, 1.0, gather=gather),
            lambda gather=gather: kernels.khn(a, a, labels, gather=gather),
        ):
            try:
                call()
                said.append("nothing")
            except ValueError as error:
                said.append(str(error))
    try:
        kernels.affinity_kl(a[:4], a[:4], 1.0, neighbours=2, gather="ring")
        said.append("nothing")
    except ValueError as error:
        said.append(str(error))
    return said


def averaged_gradients(rank: int, size: int) -> dict[str, float]:
    """The difference of a model's gradients under DDP from one process with the whole batch."""
    g = torch.Generator().manual_seed(2)
    x, y = (torch.randn(ROWS * size, 4, generator=g, dtype=torch.float64) for _ in range(2))
    label = torch.randint(-1, 3, (ROWS * size,), generator=g)
    part = slice(rank * ROWS, (rank + 1) * ROWS)
    worst = {}
    for name, gather in itertools.product(
        ("infonce", "supcon", "siglip", "multiclass_nce"), GATHERS
    ):
        learnable = {"learnable": True} if name in ("infonce", "siglip") else {}

        def step(wrap, rows, name=name, **options):
            torch.manual_seed(0)
            model = Student(xd.create_loss(name, **options).double())
            wrapped = wrap(model)  # its hooks live as long as it does
            wrapped(x[rows], y[rows], label[rows]).backward()
            return [p.grad for p in model.parameters()]

        expected = step(lambda model: model, slice(None), **learnable)
        found = step(DistributedDataParallel, part, gather=gather, **learnable)
        worst[f"{name} {gather}"] = max(
            (one - two).abs().max().item() for one, two in zip(found, expected, strict=True)
        )
    return worst


class Student(nn.Module):
    """An encoder and its loss, which may have parameters too."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.encoder = nn.Linear(4, 3).double()
        self.loss = loss

    def forward(self, x: Tensor, y: Tensor, label: Tensor) -> Tensor:
        student, teacher = (xd.Outputs(z) for z in (self.encoder(x), y[:, :3]))
        return self.loss(student, teacher, label)


def largest_in_ring(size: int) -> int:
    """Size of the largest tensor that a ring makes outside of the operators."""
    a, k = (torch.randn(ROWS, 16, requires_grad=True) for _ in range(2))
    with LargestTensor() as largest:
        kernels.supcon(a, k, 1.0, paired=True, gather="ring", impl="tiled").backward()
        kernels.infonce(a, k, 1.0, gather="ring", impl="tiled").backward()
    return largest.numbers


def run(rank: int, size: int, folder: str) -> None:
    """The work of one process."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size
    )
    tiled.ROWS, tiled.KEYS = 3, 4
    torch.set_num_threads(1)
    found = {
        "differences": worst_differences(rank, size),
        "refusals": refusals(rank, size),
        "averaged": averaged_gradients(rank, size),
        "largest": largest_in_ring(size),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()
