"""The choice of negatives: one sort per anchor, one search per pair.

Nothing here is differentiated: the choice is taken as constant.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Mining = Literal["semihard", "hard", "random", "all"]


class Mined(NamedTuple):
    """The chosen negatives of each anchor, or of each (anchor, key of the batch): P is 1 or B.

    Attributes:
        place: [N, P, K] position among the M keys.
        found: [N, P, K] False where there were fewer than K.
    """

    place: Int64[Tensor, "n p k"]
    found: Bool[Tensor, "n p k"]


def mine_semihard(
    near: Float[Tensor, "n b"],
    distance: Float[Tensor, "n m"],
    negative: Bool[Tensor, "n m"],
    margin: float,
    count: int,
) -> Mined:
    """Per (i, p) the `count` nearest negatives in the open interval (d_ip, d_ip + margin).

    In the sorted distances of anchor i they are consecutive and start at the first one beyond d_ip.
    """
    nearest, order = sort_rows(torch.where(negative, distance, torch.inf))  # [B, M]
    start = torch.searchsorted(nearest, near.contiguous(), right=True)  # [B, B]
    rank = start[:, :, None] + torch.arange(count, device=start.device)  # [B, B, K]
    last = distance.shape[1] - 1
    inside = rank <= last
    rank = rank.clamp(max=last).flatten(1)
    found = nearest.gather(1, rank).view(inside.shape) < (near + margin)[:, :, None]
    return Mined(order.gather(1, rank).view(inside.shape), inside & found)


def mine_per_anchor(
    distance: Float[Tensor, "n m"],
    negative: Bool[Tensor, "n m"],
    count: int,
    mining: Mining,
    seed: int | Int64[Tensor, ""],
    first: int = 0,
) -> Mined:
    """Per anchor the `count` nearest negatives, or as many drawn without replacement.

    `first` is the position of the first anchor in its batch; the draws depend on it.
    """
    if mining == "random":
        drawn = draw(distance.shape, seed, distance.device, first)
        cost = torch.where(negative, drawn, 2**33)
    else:
        cost = torch.where(negative, distance, torch.inf)
    place = cost.topk(min(count, distance.shape[1]), dim=1, largest=False).indices  # [B, K]
    return Mined(place[:, None], negative.gather(1, place)[:, None])


def sort_rows(
    x: Float[Tensor, "n m"],
) -> tuple[Float[Tensor, "n m"], Int64[Tensor, "n m"]]:
    """Each row of non-negative numbers in ascending order, and their positions before the sort.

    `torch.sort` moves values and positions as separate arrays, which on the CPU takes five times as
    long as the rest of this loss. On the CPU a float32 and its position become one int64 (the bits
    of non-negative floats order as the floats do), and numpy sorts those with vector instructions.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return x.sort(dim=1)
    packed = x.contiguous().view(torch.int32).to(torch.int64).bitwise_left_shift_(32)
    packed.bitwise_or_(torch.arange(x.shape[1]))
    packed.numpy().sort(axis=1)
    return (packed >> 32).to(torch.int32).view(torch.float32), packed.bitwise_and_(2**32 - 1)


def draw(
    shape: torch.Size | tuple[int, int],
    seed: int | Int64[Tensor, ""],
    device: torch.device,
    first: int = 0,
) -> Int64[Tensor, "n m"]:
    """Pseudo-random integers below 2**32, the same on every device and distinct for one seed.

    They are a hash of seed and position; the state of a generator would live on the host.
    """
    start = _hash32(torch.as_tensor(seed, device=device) + 0x9E3779B9)
    place = torch.arange(first * shape[1], (first + shape[0]) * shape[1], device=device)
    return _hash32(place ^ start).view(shape)


def _hash32(x: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """A bijection of the 32-bit integers that scatters neighbours."""
    mask = 2**32 - 1
    x = x & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)).mul_(factor).bitwise_and_(mask)
    return x ^ (x >> 16)
