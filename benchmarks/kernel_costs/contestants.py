"""Everything that computes one of the six losses: ours, plain PyTorch, and public packages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kernel_costs import plain
from kernel_costs.problem import MARGIN, NEGATIVES, SCALE, Problem
from xdistill import kernels

LossFunction = Callable[[Problem], Tensor]

OURS = ("reference", "tiled", "triton")
PLAIN, COMPILED = "plain", "plain compiled"
PML, OPEN_CLIP, INF_CL = "pytorch-metric-learning", "open_clip", "inf-cl"
PACKAGES = {
    PML: ("supcon",),
    OPEN_CLIP: ("infonce", "siglip"),
    INF_CL: ("infonce",),
}
OPS = ("infonce", "supcon", "siglip", "multiclass_nce", "affinity_kl", "khn")


def names_of(op: str, device: str, compiled: bool) -> list[str]:
    """The contestants that compute `op` on a device."""
    names = ["reference", PLAIN, *([COMPILED] if compiled else []), "tiled"]
    if device != "cpu" and op != "khn":
        names.append("triton")
    there = [one for one, ops in PACKAGES.items() if op in ops]
    return names + [one for one in there if one != INF_CL or device != "cpu"]


def contestant(op: str, name: str) -> LossFunction:
    """The function by which a contestant computes `op`.

    Raises:
        ImportError: it is a package that is not installed.
    """
    if name in OURS:
        return lambda p: ours(op, p, name)
    if name == PLAIN:
        return getattr(plain, op)
    if name == COMPILED:
        return torch.compile(getattr(plain, op), dynamic=False)
    return {PML: metric_learning, OPEN_CLIP: open_clip_loss, INF_CL: inf_cl}[name](op)


def ours(op: str, p: Problem, impl: str) -> Tensor:
    """The library's kernel."""
    function = getattr(kernels, op)
    if op == "infonce":
        return function(p.rows, p.keys, p.scale, impl=impl)
    if op == "siglip":
        return function(p.rows, p.keys, p.scale, p.bias, impl=impl)
    if op == "affinity_kl":
        return function(p.rows, p.keys, 1 / SCALE, impl=impl)
    if op == "khn":
        bank = {"bank": p.bank, "bank_labels": p.bank_labels}
        return function(
            p.rows, p.keys, p.row_labels, **bank, margin=MARGIN, num_negatives=NEGATIVES, impl=impl
        )
    return function(p.rows, p.keys, SCALE, p.row_labels, p.key_labels, impl=impl)


def metric_learning(op: str) -> LossFunction:
    """SupConLoss with reference embeddings."""
    from pytorch_metric_learning.losses import SupConLoss

    loss = SupConLoss(temperature=1 / SCALE)
    return lambda p: loss(p.rows, p.row_labels, ref_emb=p.keys, ref_labels=p.key_labels)


def open_clip_loss(op: str) -> LossFunction:
    """ClipLoss or SigLipLoss."""
    from open_clip.loss import ClipLoss, SigLipLoss

    if op == "infonce":
        clip = ClipLoss()
        return lambda p: clip(p.rows, p.keys, p.scale)
    sigmoid = SigLipLoss()
    return lambda p: sigmoid(p.rows, p.keys, p.scale, p.bias)


def inf_cl(op: str) -> LossFunction:
    """Its fused cross-entropy, once for each direction."""
    from inf_cl import cal_flash_loss  # pyright: ignore[reportMissingImports]

    def both(p: Problem) -> Tensor:
        forth = cal_flash_loss(p.rows, p.keys, scale=p.scale)
        back = cal_flash_loss(p.keys, p.rows, scale=p.scale)
        return (forth.mean() + back.mean()) / 2

    return both
