"""Heads that map an embedding into the space shared by student and teacher."""

from __future__ import annotations

from torch import nn

from xdistill.registry import register_projector


@register_projector("identity")
def identity(in_dim: int, out_dim: int) -> nn.Module:
    """No projection.

    Raises:
        ValueError: the widths differ.
    """
    if in_dim != out_dim:
        raise ValueError(
            f"projector 'identity' cannot turn width {in_dim} into {out_dim}; use 'linear' or 'mlp'"
        )
    return nn.Identity()


@register_projector("linear")
def linear(in_dim: int, out_dim: int, *, bias: bool = True) -> nn.Module:
    """One linear layer, [B, in_dim] -> [B, out_dim]."""
    return nn.Linear(in_dim, out_dim, bias=bias)


@register_projector("mlp")
def mlp(in_dim: int, out_dim: int, *, hidden_dim: int | None = None) -> nn.Module:
    """Linear, ReLU, linear, [B, in_dim] -> [B, out_dim] (Chen et al., SimCLR, 2020, section 4.2).

    It has no BatchNorm, so that a row's projection does not depend on the other rows: keys of a
    memory bank can be projected again at any time.

    Args:
        hidden_dim: width between the two layers; None for `in_dim`.
    """
    hidden_dim = in_dim if hidden_dim is None else hidden_dim
    return nn.Sequential(
        nn.Linear(in_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, out_dim)
    )


@register_projector("orthogonal")
def orthogonal(in_dim: int, out_dim: int) -> nn.Module:
    """A linear map without bias whose matrix stays orthonormal, [B, in_dim] -> [B, out_dim].

    Miles et al., "VkD: improving knowledge distillation using orthogonal projections", CVPR 2024.
    To a wider space it keeps all lengths and angles, so what the teacher asks for reaches the
    student undistorted and the projector cannot learn in its place; to a narrower one it is an
    orthogonal projection. Every optimiser step moves along such matrices
    (`torch.nn.utils.parametrizations.orthogonal`). The paper applies it to the student and
    normalises the teacher: `FitNet(adapter="orthogonal", normalise="standardise")`.
    """
    return nn.utils.parametrizations.orthogonal(nn.Linear(in_dim, out_dim, bias=False))
