"""OFA: the student's hidden layers imitate the teacher's class probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.kl import log_probabilities
from xdistill.losses.parts.layers import FeatureMap, channels_first, hidden_shapes
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import create_projector, register_loss


def ofa(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    eps: float = 1.1,
    temperature: float = 1.0,
    official: bool = False,
) -> Float[Tensor, ""]:
    """Mean over rows of −((1 + p_t(y))^eps − 1)·log p_s(y) − Σ_{k≠y} p_t(k)·log p_s(k).

    Hao et al., NeurIPS 2023, the definition of L_OFA (eps is its γ), without the cross-entropy −log
    p_s(y) that it contains, which is a separate loss here. An eps above 1 adds weight to the true
    class, the more so the surer the teacher is of it; with eps = 1 this is the cross-entropy with
    the teacher's probabilities.

    Args:
        target: [B] class; rows labelled -1 are left out.
        official: apply the power to every class, −Σ_k ((p_t + y)^eps − y_k)·log p_s(k), as the
            published code does. The paper derives the power for the true class only; its numbers
            come from the code.
    """
    keep = row_mask(valid, student) & (target >= 0)
    log_s = log_probabilities(student, keep, temperature)
    p_t = (zero_rows(teacher.detach(), keep) / temperature).softmax(dim=1)
    true = target[:, None] == torch.arange(student.shape[1], device=target.device)  # [B, K]
    others = p_t**eps if official else p_t
    weight = torch.where(true, (1 + p_t) ** eps - 1, others)
    return masked_mean(-(weight * log_s).sum(dim=1), keep)


@register_loss("ofa")
class OFA(Loss):
    """The sum of `ofa` over the student's hidden layers, each through its own head, and its logits.

    A head averages the map over everything but channels and maps it to K classes. The paper's
    branches first repeat the student's later stages (separable convolutions or transformer blocks);
    only their last layer is made here. The heads belong to the loss, not to the student. Of the
    teacher only the logits are used.

    The paper's weight is 1 beside a cross-entropy of 1, its γ 1.1 to 1.4.

    Args:
        eps: exponent of the true class, at least 1.
        temperature: divides both logits.
        stages: hidden layers of the student: names, or pairs of a name and the letters of its axes,
            as in `LayerPair.student_axes`. None takes all of them.
        head: a registered projector from a stage's channels to the classes.
        official: the published code's weights; see `ofa`.
    """

    name = "ofa"
    formula = "Σ over stages of −((1 + p_t(y))^γ − 1)·log p_s(y) − Σ_{k≠y} p_t·log p_s"
    paper = "Hao et al., NeurIPS 2023"
    needs = ("logits", "hidden", "labels")
    shared_space = False

    def __init__(
        self,
        eps: float = 1.1,
        temperature: float = 1.0,
        stages: Sequence[str | tuple[str, str]] | None = None,
        head: str = "linear",
        official: bool = False,
    ):
        super().__init__()
        if eps < 1:
            raise ValueError(f"ofa: eps must be 1 or more, got {eps}; 1 gives the plain KD target")
        require_positive(self.name, temperature=temperature)
        require_positive(self.name, eps=eps)
        self.eps = eps
        self.temperature = temperature
        self.stages = stages
        self.head = head
        self.official = official
        self.heads: nn.ModuleList | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.heads is not None:
            return self
        if num_classes is None:
            raise ValueError(
                "ofa makes a classifier for each stage and needs the number of classes, got "
                "num_classes=None; call loss.bind(student, teacher, num_classes=K)"
            )
        shapes = {
            name: torch.empty(1, *shape, device="meta")
            for name, shape in hidden_shapes(student).items()
        }
        counts = [stage.tensor.shape[1] for stage in self.stage_maps(shapes)]
        self.heads = nn.ModuleList(create_projector(self.head, n, num_classes) for n in counts)
        return self

    def stage_maps(self, hidden: dict[str, Tensor]) -> list[FeatureMap]:
        """The student's hidden tensors that get a head, channels first."""
        if not hidden:
            raise ValueError(
                "ofa puts heads on hidden layers of the student, whose outputs hold none; keep "
                "some with xd.capture(encoder, [...]) and bind with outputs, loss.bind("
                "student(x), teacher(y), num_classes=K), or give Distiller an example batch"
            )
        chosen = hidden if self.stages is None else self.stages
        named = [(one, None) if isinstance(one, str) else one for one in chosen]
        missing = [name for name, _ in named if name not in hidden]
        if missing:
            raise ValueError(
                f"ofa: the student has no hidden layers {missing}, its outputs hold "
                f"{list(hidden)}; keep them with xd.capture(encoder, {missing})"
            )
        return [channels_first(hidden[name], axes, name) for name, axes in named]

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        target = require_target(self.name, target)
        if self.heads is None:
            raise ValueError(
                "ofa has no heads yet; call loss.bind(student, teacher, num_classes=K) first"
            )
        maps = self.stage_maps(student.hidden)
        if len(maps) != len(self.heads):
            raise ValueError(
                f"ofa was bound to {len(self.heads)} hidden layers of the student and got "
                f"{list(student.hidden)}; keep the same layers, or name them: stages=[...]"
            )
        logits = [
            head(stage.tensor.flatten(2).mean(dim=2) if stage.axes else stage.tensor)
            for head, stage in zip(self.heads, maps, strict=True)
        ]
        options = (target, valid, self.eps, self.temperature, self.official)
        values = [ofa(one, teacher.logits, *options) for one in (*logits, student.logits)]
        return torch.stack(values).sum()
