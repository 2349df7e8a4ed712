"""Films of a blob that moves by less than a pixel, and a short training on them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Clips = Callable[[int], tuple[Tensor, Tensor]]
"""Makes so many clips [B, 1, T, H, W] and their classes."""


def blob_film(shift_px: Tensor, centre: Tensor, size: int, spread: float) -> Tensor:
    """[B, 1, T, size, size] with noise: a blob at centre [B, 1], moved down by shift_px [B, T]."""
    grid = torch.arange(float(size))
    down = (grid - (centre + shift_px)[..., None]) ** 2  # b t h
    across = (grid - centre) ** 2  # b w
    blob = torch.exp(-(down[..., None] + across[:, None, None]) / spread)
    return (blob + 0.01 * torch.randn_like(blob))[:, None]


def accuracy_after(encoder: nn.Module, clips: Clips, *, steps: int, rows: int, test: int) -> float:
    """The share of `test` new clips that are right after so many steps of `rows` clips."""
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-3)
    for _ in range(steps):
        x, target = clips(rows)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(encoder(x).logits, target).backward()
        optimizer.step()
    x, target = clips(test)
    with torch.no_grad():
        return float((encoder.eval()(x).logits.argmax(1) == target).float().mean())
