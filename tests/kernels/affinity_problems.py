"""Random arguments for affinity_kl, its definition as a loop over rows, and a tolerance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xdistill.kernels import affinity_kl
from xdistill.kernels.tiled import affinity as tiled_affinity
from xdistill.kernels.tiled import passes as tiled

IMPLS = ("reference", "tiled")
ALLOWED = {torch.float64: 1e-10, torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


@contextlib.contextmanager
def small_tiles() -> Iterator[None]:
    """Split even the small shapes of tests into several tiles and chunks of gathered keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "ROWS", 7)
        patch.setattr(tiled, "KEYS", 10)
        patch.setattr(tiled_affinity, "GATHERED", 200)
        yield


@dataclass(frozen=True)
class Problem:
    """Arguments of affinity_kl, with the inverse of its temperature.

    Where `student_keys` is None the rows are compared with each other.
    """

    student_rows: Tensor
    teacher_rows: Tensor
    scale: Tensor
    student_keys: Tensor | None = None
    teacher_keys: Tensor | None = None
    teacher_temperature: float | None = None
    valid: Tensor | None = None
    key_valid: Tensor | None = None
    neighbours: int | None = None

    def to(self, dtype):
        parts = {
            name: None if (x := getattr(self, name)) is None else x.to(dtype)
            for name in ("student_rows", "teacher_rows", "student_keys", "teacher_keys")
        }
        scale = self.scale.to(torch.promote_types(dtype, torch.float32))
        return replace(self, **parts, scale=scale)

    def leaves(self):
        """Copies of student_rows, 1/temperature and student_keys."""
        inputs = [x for x in (self.student_rows, self.scale, self.student_keys) if x is not None]
        return [x.detach().clone().requires_grad_() for x in inputs]

    def run(self, function, **options):
        """The value, and the gradients of its leaves."""
        leaves = self.leaves()
        value = self.value(function, *leaves, **options)
        return [value.detach(), *torch.autograd.grad(value, leaves)]

    def value(self, function, s, scale, student_keys=None, **options):
        rest = {
            name: getattr(self, name)
            for name in ("teacher_keys", "teacher_temperature", "valid", "key_valid", "neighbours")
        }
        return function(
            s, self.teacher_rows, 1 / scale, student_keys=student_keys, **rest, **options
        )


def problem(
    form,
    n,
    m,
    d,
    e,
    *,
    temperature=0.1,
    teacher_temperature=0.15,
    masked=True,
    seed=0,
    neighbours=3,
) -> Problem:
    """Unit rows in float64. form: "self", "keys" or "neighbours"."""
    if form == "neighbours":
        e = max(
            e, 8
        )  # narrow rows in half precision tie, and then any of the keys may be the nearest
    g = torch.Generator().manual_seed(seed)

    def unit(rows, width):
        return normalize(torch.randn(rows, width, generator=g, dtype=torch.float64), dim=1)

    def mask(rows):
        return torch.rand(rows, generator=g) < 0.8 if masked else None

    made = Problem(
        unit(n, d),
        unit(n, e),
        torch.tensor(1 / temperature).double(),
        teacher_temperature=teacher_temperature,
    )
    made = replace(made, valid=mask(n))
    if form == "keys":
        return replace(made, student_keys=unit(m, d), teacher_keys=unit(m, e), key_valid=mask(m))
    return replace(made, neighbours=neighbours if form == "neighbours" else None)


def slow(
    s, t, temperature, *, teacher_temperature=None, student_keys=None, teacher_keys=None,
    valid=None, key_valid=None, neighbours=None,
):  # fmt: skip
    """The definition, one row at a time."""
    alone = student_keys is None
    if alone:
        student_keys, teacher_keys, key_valid = s, t, valid
    teacher_temperature = (
        temperature.detach() if teacher_temperature is None else teacher_temperature
    )
    rows = [i for i in range(len(s)) if valid is None or valid[i]]
    there = [j for j in range(len(student_keys)) if key_valid is None or key_valid[j]]
    total = 0 * temperature + 0 * s[:0].sum() + 0 * student_keys[:0].sum()
    for i in rows:
        met = [j for j in there if not (alone and j == i)]
        if not met:
            continue
        target = teacher_keys[met] @ t[i] / teacher_temperature
        if neighbours is not None:
            nearest = target.sort(descending=True).indices[:neighbours].tolist()
            met, target = [met[at] for at in nearest], target[nearest]
        log_p, log_q = (
            target.log_softmax(0),
            (student_keys[met] @ s[i] / temperature).log_softmax(0),
        )
        total = total + (log_p.exp() * (log_p - log_q)).sum()
    return total / max(len(rows), 1)


def check(made: Problem, dtype=torch.float64, impls=IMPLS) -> None:
    """|kernel − exact| ≤ |plain PyTorch in that type − exact| + the type's allowance.

    The allowance is relative to the largest entry, and never more than that of an entry of 1.
    Entries of a gradient that cancel are measured by 1 / number of rows, a value by 1.
    """
    rounded = made.to(dtype)
    exact = rounded.to(torch.float64).run(slow)
    plain = rounded.run(slow)
    for impl in impls:
        found = rounded.run(affinity_kl, impl=impl)
        assert found[0].dtype == torch.promote_types(dtype, torch.float32)
        assert found[1].dtype == dtype
        for part, (ours, true, usual) in enumerate(zip(found, exact, plain, strict=True)):
            assert ours.isfinite().all(), (impl, part)
            if not true.numel():
                continue
            least = 1.0 if true.ndim == 0 else 1 / len(made.student_rows)
            allowed = ALLOWED[dtype] * true.abs().max().clamp(least, 1.0)
            error, bound = (ours.double() - true).abs().max(), (usual.double() - true).abs().max()
            assert error <= bound + allowed, (impl, part, float(error), float(bound))
