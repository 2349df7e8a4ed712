"""The pass over chunks of anchors as a `torch.library` operator."""

# Annotations stay objects here: torch reads the schema of each operator from them.
from typing import Any

import torch
from torch import Tensor

from xdistill.kernels.autograd import no_second_derivative
from xdistill.kernels.mined import tiled
from xdistill.kernels.mined.options import Options
from xdistill.kernels.mined.relations import Side


@torch.library.custom_op("xdistill::khn_fused", mutates_args=())
def khn_fused(
    rows: Tensor, keys: Tensor, bank: Tensor | None,
    row_labels: Tensor, row_index: Tensor, row_keep: Tensor,
    key_labels: Tensor, key_index: Tensor, key_keep: Tensor,
    bank_labels: Tensor | None, bank_index: Tensor | None, bank_keep: Tensor | None,
    seed: Tensor, margin: float, num_negatives: int, temperature: float,
    mining: str, form: str, positives: str, own: int, need_gradients: bool, impl: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(sum of the costs, their number, its gradients in rows and keys, empty unless needed).

    Row i of rows [N, D] belongs to key i + own of keys [B, D]. The sum is differentiable in both;
    the backward pass multiplies the gradients that the forward pass has computed.
    """
    bank_side = None
    if bank_labels is not None and bank_index is not None and bank_keep is not None:
        bank_side = Side(bank_labels, bank_index, bank_keep)
    options = Options(margin, num_negatives, mining, form, temperature, seed)  # pyright: ignore[reportArgumentType]
    return tiled.khn(
        rows, keys, bank, Side(row_labels, row_index, row_keep),
        Side(key_labels, key_index, key_keep), bank_side, positives, own,  # pyright: ignore[reportArgumentType]
        options, need_gradients, _miner(impl),
    )  # fmt: skip


def _miner(impl: str) -> tiled.Miner:
    """How negatives are found. Triton is imported at its first use."""
    if impl == "triton":
        from xdistill.kernels.mined import triton

        return triton.mine
    return tiled.mine_by_sorting


@torch.library.custom_op("xdistill::khn_scale", mutates_args=())
def khn_scale(
    d_rows: Tensor, d_keys: Tensor, g: Tensor, rows: Tensor, keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Both gradients times g. They depend on the inputs, so a second derivative is an error."""
    return d_rows * g, d_keys * g


@khn_fused.register_fake
def _(
    rows, keys, bank, row_labels, row_index, row_keep, key_labels, key_index, key_keep,
    bank_labels, bank_index, bank_keep, seed, margin, num_negatives, temperature,
    mining, form, positives, own, need_gradients, impl,
):  # fmt: skip
    count = torch.empty((), dtype=torch.int64, device=rows.device)
    n, b = (len(rows), len(keys)) if need_gradients else (0, 0)
    gradients = rows.new_empty(n, rows.shape[1]), keys.new_empty(b, keys.shape[1])
    return rows.new_empty(()), count, *gradients


@khn_scale.register_fake
def _(d_rows, d_keys, g, rows, keys):
    return torch.empty_like(d_rows), torch.empty_like(d_keys)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*output[2:], *inputs[:2])
    ctx.mark_non_differentiable(*output[1:])


def _gradient(ctx: Any, g_total: Tensor, *others: Any) -> Any:
    d_rows, d_keys, rows, keys = ctx.saved_tensors
    d_rows, d_keys = khn_scale(d_rows, d_keys, g_total, rows, keys)
    return d_rows, d_keys, *[None] * 20


khn_fused.register_autograd(_gradient, setup_context=_save)
khn_scale.register_autograd(no_second_derivative)
