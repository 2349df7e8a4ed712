"""What mining costs, relative to the similarities alone and to a loop over pairs.

    python benchmarks/kernel_costs/khn.py

Everything is measured in turn in one run, so that ratios do not depend on how busy the machine is.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from xdistill.kernels import khn

BATCH, BANK, DIM, CLASSES, MARGIN, NEGATIVES = 64, 4096, 128, 5, 0.5, 5


def similarities(rows: Tensor, keys: Tensor) -> Tensor:
    """The inner products alone, [B, M], summed."""
    return (rows @ keys.T).sum()


def loop_over_pairs(
    rows: Tensor, keys: Tensor, labels: Tensor, bank: Tensor, bank_labels: Tensor
) -> Tensor:
    """Semi-hard mining of one (anchor, positive) at a time, as the definition reads."""
    all_keys, all_labels = torch.cat([keys, bank]), torch.cat([labels, bank_labels])
    costs = []
    for i in range(len(rows)):
        negatives = all_keys[all_labels != labels[i]]
        for j in range(len(keys)):
            if labels[j] != labels[i]:
                continue
            near = (rows[i] - keys[j]).square().sum()
            far = (rows[i] - negatives).square().sum(dim=1)
            inside = far[(far > near) & (far < near + MARGIN)]
            hardest = inside.topk(min(NEGATIVES, len(inside)), largest=False).values
            costs.append(near - hardest + MARGIN)
    return torch.cat(costs).mean()


def measure(repeats: int = 31, slow_repeats: int = 3) -> dict[str, float]:
    """Median milliseconds of a forward and a backward pass, and the two ratios of the medians."""
    torch.manual_seed(0)
    rows, keys, bank = (F.normalize(torch.randn(n, DIM), dim=1) for n in (BATCH, BATCH, BANK))
    labels, bank_labels = torch.arange(BATCH) % CLASSES, torch.arange(BANK) % CLASSES
    all_keys = torch.cat([keys, bank])
    for leaf in (rows, keys, all_keys):
        leaf.requires_grad_()

    def mined() -> Tensor:
        options = {"margin": MARGIN, "num_negatives": NEGATIVES}
        return khn(rows, keys, labels, bank=bank, bank_labels=bank_labels, **options)

    def slow() -> Tensor:
        return loop_over_pairs(rows, keys, labels, bank, bank_labels)

    torch.testing.assert_close(mined(), slow())  # a wrong result is not timed
    matmul_ms, constant_bank_ms, khn_ms = _in_turn(
        [
            lambda: similarities(rows, all_keys),
            lambda: similarities(rows, keys) + similarities(rows, bank),
            mined,
        ],
        [rows, keys, all_keys],
        repeats,
    )
    (slow_ms,) = _in_turn([slow], [rows, keys], slow_repeats)
    return {
        "matmul_ms": matmul_ms,
        "matmul_constant_bank_ms": constant_bank_ms,
        "khn_ms": khn_ms,
        "loop_over_pairs_ms": slow_ms,
        "khn_over_matmul": khn_ms / matmul_ms,
        "khn_over_matmul_constant_bank": khn_ms / constant_bank_ms,
        "loop_over_khn": slow_ms / khn_ms,
    }


def _in_turn(
    functions: list[Callable[[], Tensor]], leaves: list[Tensor], repeats: int
) -> list[float]:
    """The median time of each function with its backward pass, one after the other, repeatedly."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for spent, function in zip(times, functions, strict=True):
            for leaf in leaves:
                leaf.grad = None
            start = time.perf_counter()
            function().backward()
            spent.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(one) for one in times]


if __name__ == "__main__":
    print(json.dumps({"threads": torch.get_num_threads(), **measure()}, indent=2))
