"""The figures that the kernels should reach, computed from the rows of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import ge, le

from kernel_costs.contestants import COMPILED, INF_CL, OPEN_CLIP, OPS, PLAIN, PML

MEASURED_AT = {"cpu": 8192, "cuda": 65_536}
"""N = M of the targets that refer to one size."""
ALONE_AT = {"cpu": 65_536, "cuda": 1_048_576}
"""N = M at which only our kernel runs."""
KHN_BANK = 65_536
FASTER_THAN = {PML: 5.0, OPEN_CLIP: 2.5}


@dataclass
class Row:
    """One contestant at one size. `keys` is M, and for khn the size of the bank.

    Attributes:
        seconds: the best of `times`, forward and backward.
        extra_mb: peak memory of a step beyond inputs and imports, gradients included.
        process_mb: peak memory of the whole process.
        gflops: 8·N·M·D operations over `seconds`; none for khn, whose backward pass is sparse.
        share_of_matmul: that over the rate of a matrix product timed in the same rounds.
        note: the reason if there are no figures.
    """

    op: str
    impl: str
    rows: int
    keys: int
    dim: int
    dtype: str
    seconds: float | None = None
    times: list[float] = field(default_factory=list)
    extra_mb: float | None = None
    process_mb: float | None = None
    gflops: float | None = None
    share_of_matmul: float | None = None
    note: str = ""


@dataclass
class Target:
    """A figure to reach; `measured` and `met` are None where the run did not measure it."""

    what: str
    measured: float | None
    limit: float
    unit: str
    at_most: bool
    met: bool | None


def targets_of(rows: Sequence[Row], device: str) -> list[Target]:
    """All targets for the device."""
    kind = "cpu" if device == "cpu" else "cuda"
    found = _cpu(rows) if kind == "cpu" else _gpu(rows)
    return found + _khn(rows)


def _cpu(rows: Sequence[Row]) -> list[Target]:
    n, targets = MEASURED_AT["cpu"], []
    for op in OPS[:-1]:
        tiled, plain = _find(rows, op, "tiled", n), _find(rows, op, PLAIN, n)
        targets += [
            at_most(f"{op}: time, tiled / plain", _ratio(tiled, plain, "seconds"), 0.4),
            at_least(f"{op}: share of the matmul rate", _of(tiled, "share_of_matmul"), 0.5),
            at_most(f"{op}: extra memory, tiled / plain", _ratio(tiled, plain, "extra_mb"), 0.05),
        ]
    for op, package in (("supcon", PML), ("infonce", OPEN_CLIP), ("siglip", OPEN_CLIP)):
        ratio = _ratio(_find(rows, op, package, n), _find(rows, op, "tiled", n), "seconds")
        targets.append(at_least(f"{op}: time, {package} / tiled", ratio, FASTER_THAN[package]))
    for op in OPS[:-1]:
        alone = _find(rows, op, "tiled", ALONE_AT["cpu"])
        if alone is not None:
            what = f"{op}, N = M = 65,536: memory of the whole process"
            targets.append(at_most(what, _of(alone, "process_mb"), 3e9 / 2**20, "MB"))
    return targets


def _gpu(rows: Sequence[Row]) -> list[Target]:
    n, targets = MEASURED_AT["cuda"], []
    for op in OPS[:-1]:
        fused = _find(rows, op, "triton", n)
        share, extra = _of(fused, "share_of_matmul"), _of(fused, "extra_mb")
        if fused is not None and extra is not None:
            extra -= 2 * 2 * fused.rows * fused.dim / 2**20  # both gradients, in bf16
        targets += [
            at_least(f"{op}: share of the matmul rate", share, 0.4),
            at_most(f"{op}: extra memory beyond the gradients", extra, 256.0, "MB"),
        ]
        compiled = [row for row in rows if row.op == op and row.impl == COMPILED and row.seconds]
        ratios = [_ratio(row, _find(rows, op, "triton", row.rows), "seconds") for row in compiled]
        least = min((one for one in ratios if one is not None), default=None)
        if compiled:
            what = f"{op}: time, plain compiled / triton, least of all sizes"
            targets.append(at_least(what, least, 1.0))
    ratio = _ratio(
        _find(rows, "infonce", INF_CL, n), _find(rows, "infonce", "triton", n), "seconds"
    )
    targets.append(at_least("infonce: time, inf-cl / triton", ratio, 1.5))
    alone = _find(rows, "infonce", "triton", ALONE_AT["cuda"])
    completes = None if alone is None else float(alone.seconds is not None)
    targets.append(at_least("infonce, N = M = 1,048,576 completes", completes, 1.0, "run"))
    return targets


def _khn(rows: Sequence[Row]) -> list[Target]:
    # The reference, since it sorts faster than the plain loss and is the harder one to beat.
    tiled, whole = _find(rows, "khn", "tiled", KHN_BANK), _find(rows, "khn", "reference", KHN_BANK)
    return [
        at_least("khn: extra memory, reference / tiled", _ratio(whole, tiled, "extra_mb"), 5.0),
        at_most("khn: time, tiled / reference", _ratio(tiled, whole, "seconds"), 1.0),
    ]


def at_most(what: str, measured: float | None, limit: float, unit: str = "×") -> Target:
    """A target that is an upper bound."""
    return _target(what, measured, limit, unit, le)


def at_least(what: str, measured: float | None, limit: float, unit: str = "×") -> Target:
    """A target that is a lower bound."""
    return _target(what, measured, limit, unit, ge)


def _target(
    what: str,
    measured: float | None,
    limit: float,
    unit: str,
    compare: Callable[[float, float], bool],
) -> Target:
    met = None if measured is None else compare(measured, limit)
    return Target(what, measured, limit, unit, compare is le, met)


def _find(rows: Sequence[Row], op: str, impl: str, keys: int) -> Row | None:
    here = (row for row in rows if (row.op, row.impl, row.keys) == (op, impl, keys))
    return next(here, None)


def _of(row: Row | None, name: str) -> float | None:
    return None if row is None else getattr(row, name)


def _ratio(one: Row | None, two: Row | None, name: str) -> float | None:
    first, second = _of(one, name), _of(two, name)
    return None if first is None or not second else first / second
