"""Multi-level logit distillation: samples, classes and their relations, at several temperatures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xdistill.losses.kd import kd
from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.registry import register_loss

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


def mlkd(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Float[Tensor, ""]:
    """Mean over T of KD at T, the class correlation and the batch correlation.

    Jin et al., CVPR 2023, section 3: T²·KL + ‖PₜᵀPₜ − PₛᵀPₛ‖²_F/K + ‖PₜPₜᵀ − PₛPₛᵀ‖²_F/B, with P =
    softmax(z/T) of the B valid rows. Several temperatures of one forward pass are the paper's
    prediction augmentation. The paper sums over T; this mean times the number of temperatures is
    that sum.
    """
    parts = [
        kd(student, teacher, valid, temperature)
        + correlations(student / temperature, teacher / temperature, valid)
        for temperature in temperatures
    ]
    return torch.stack(parts).mean()


def correlations(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """‖PₜᵀPₜ − PₛᵀPₛ‖²_F/K + ‖PₜPₜᵀ − PₛPₛᵀ‖²_F/B, P the softmax of the valid rows."""
    keep = row_mask(valid, student)
    p_s = zero_rows(zero_rows(student, keep).softmax(dim=1), keep)
    p_t = zero_rows(zero_rows(teacher, keep).softmax(dim=1), keep)
    classes = (p_t.T @ p_t - p_s.T @ p_s).square().sum()  # of [K, K]
    batch = (p_t @ p_t.T - p_s @ p_s.T).square().sum()  # of [B, B]
    return classes / student.shape[1] + batch / keep.sum().clamp(min=1)


@register_loss("mlkd")
class MLKD(Loss):
    """KD at several temperatures, with the correlations of classes and of samples.

    This is the paper's formula on one view of each sample. The published code runs a weakly and a
    strongly augmented view, and multiplies the terms of the weak view by the share of samples or
    classes of below-median confidence; neither is done here. The class term sums over rows before
    squaring, so it grows with the batch.

    Args:
        temperatures: each divides both logits.
    """

    name = "mlkd"
    formula = "mean over T of T²·KL + ‖PₜᵀPₜ − PₛᵀPₛ‖²/K + ‖PₜPₜᵀ − PₛPₛᵀ‖²/B"
    paper = "Jin et al., CVPR 2023"
    needs = ("logits",)
    shared_space = False
    recommended_weight = float(len(TEMPERATURES))

    def __init__(self, temperatures: Sequence[float] = TEMPERATURES):
        super().__init__()
        if not temperatures or not all(0 < one < math.inf for one in temperatures):
            raise ValueError(
                f"mlkd: temperatures must be one or more numbers above 0, got {temperatures}"
            )
        self.temperatures = tuple(temperatures)

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        return mlkd(student.logits, teacher.logits, valid, self.temperatures)
