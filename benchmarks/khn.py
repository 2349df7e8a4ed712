"""What mining costs beside the similarities that it looks at, and beside a loop over pairs.

    python -m benchmarks.khn

Everything is measured in one run and in turn, so that the ratios survive a busy machine.
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

BATCH, BANK, DIM, CLASSES, MARGIN, K = 64, 4096, 128, 5, 0.5, 5


def similarities(a: Tensor, keys: Tensor) -> Tensor:
    """The inner products alone, [B, M], summed."""
    return (a @ keys.T).sum()


def loop_over_pairs(a: Tensor, p: Tensor, la: Tensor, bank: Tensor, bank_labels: Tensor) -> Tensor:
    """Semi-hard mining one (anchor, positive) at a time, as the definition reads."""
    keys, labels = torch.cat([p, bank]), torch.cat([la, bank_labels])
    costs = []
    for i in range(len(a)):
        negatives = keys[labels != la[i]]
        for j in range(len(p)):
            if la[j] != la[i]:
                continue
            near = (a[i] - p[j]).square().sum()
            far = (a[i] - negatives).square().sum(dim=1)
            inside = far[(far > near) & (far < near + MARGIN)]
            hardest = inside.topk(min(K, len(inside)), largest=False).values
            costs.append(near - hardest + MARGIN)
    return torch.cat(costs).mean()


def measure(repeats: int = 31, slow_repeats: int = 3) -> dict[str, float]:
    """Median milliseconds of a forward and a backward pass, and the two ratios of the medians."""
    torch.manual_seed(0)
    a, p, bank = (F.normalize(torch.randn(n, DIM), dim=1) for n in (BATCH, BATCH, BANK))
    la, bank_labels = torch.arange(BATCH) % CLASSES, torch.arange(BANK) % CLASSES
    keys = torch.cat([p, bank])
    for leaf in (a, p, keys):
        leaf.requires_grad_()

    def mined() -> Tensor:
        return khn(a, p, la, bank=bank, bank_labels=bank_labels, margin=MARGIN, num_negatives=K)

    def slow() -> Tensor:
        return loop_over_pairs(a, p, la, bank, bank_labels)

    torch.testing.assert_close(mined(), slow())  # what is wrong is not timed
    matmul_ms, constant_bank_ms, khn_ms = _in_turn(
        [
            lambda: similarities(a, keys),
            lambda: similarities(a, p) + similarities(a, bank),
            mined,
        ],
        [a, p, keys],
        repeats,
    )
    (slow_ms,) = _in_turn([slow], [a, p], slow_repeats)
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
