"""The chunked pass of the mined losses as a PyTorch operator."""

# Annotations stay objects here: torch reads the schema of each operator from them.
from typing import Any

import torch
from torch import Tensor

from xdistill.kernels.autograd import no_second_derivative
from xdistill.kernels.mined.reference import Options
from xdistill.kernels.mined.relations import Side
from xdistill.kernels.mined.tiled import fused

Two = tuple[Tensor, Tensor]
Four = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("xdistill::khn_fused", mutates_args=())
def khn_fused(
    a: Tensor, p: Tensor, bank: Tensor | None,
    label_a: Tensor, index_a: Tensor, keep_a: Tensor,
    label_p: Tensor, index_p: Tensor, keep_p: Tensor,
    label_bank: Tensor | None, index_bank: Tensor | None, keep_bank: Tensor | None,
    seed: Tensor, margin: float, k: int, tau: float,
    mining: str, form: str, positives: str, own: int, need_gradients: bool, impl: str,
) -> Four:  # fmt: skip
    """(sum of the costs, their number, its gradients in a and p, empty unless needed).

    Anchor a_i [N, D] belongs to key i + own of p [B, D]. The sum is differentiable in a and p, the
    gradients are what a backward pass multiplies.
    """
    of_bank = None
    if label_bank is not None and index_bank is not None and keep_bank is not None:
        of_bank = Side(label_bank, index_bank, keep_bank)
    options = Options(margin, k, mining, form, tau, seed)  # pyright: ignore[reportArgumentType]
    return fused(
        a, p, bank, Side(label_a, index_a, keep_a), Side(label_p, index_p, keep_p), of_bank,
        positives, own, options, need_gradients, impl,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


@torch.library.custom_op("xdistill::khn_scale", mutates_args=())
def khn_scale(da: Tensor, dp: Tensor, g: Tensor, a: Tensor, p: Tensor) -> Two:
    """Both gradients times g. They depend on a and p, so that a second derivative is an error."""
    return da * g, dp * g


@khn_fused.register_fake
def _(
    a, p, bank, label_a, index_a, keep_a, label_p, index_p, keep_p, label_bank, index_bank,
    keep_bank, seed, margin, k, tau, mining, form, positives, own, need_gradients,
    impl,
):  # fmt: skip
    count = torch.empty((), dtype=torch.int64, device=a.device)
    n, b = (len(a), len(p)) if need_gradients else (0, 0)
    return a.new_empty(()), count, a.new_empty(n, a.shape[1]), p.new_empty(b, p.shape[1])


@khn_scale.register_fake
def _(da, dp, g, a, p):
    return torch.empty_like(da), torch.empty_like(dp)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*output[2:], *inputs[:2])
    ctx.mark_non_differentiable(*output[1:])


def _gradient(ctx: Any, g_total: Tensor, *others: Any) -> Any:
    da, dp, a, p = ctx.saved_tensors
    da, dp = khn_scale(da, dp, g_total, a, p)
    return da, dp, *[None] * 20


khn_fused.register_autograd(_gradient, setup_context=_save)
khn_scale.register_autograd(no_second_derivative)
