"""Customised cross-modal distillation: proxies, on samples whose classes both rank alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.kd import kd
from xdistill.losses.parts.checks import require_classes, require_logits, require_target
from xdistill.losses.parts.kendall import kendall_tau_b
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import (
    require_counts,
    require_not_negative,
    require_num_classes,
    require_positive,
)
from xdistill.numerics import EXCLUDED, masked_mean
from xdistill.registry import create_projector, register_loss


class C2KDTerms(NamedTuple):
    """The parts of the loss, unweighted.

    Attributes:
        teacher: divergence between the teacher and its proxy, both ways.
        student: divergence between the student and its proxy, both ways.
        cross: divergence between the proxies, both ways, without the target class, on selected
            rows.
        selected: [B] whether the rankings of the proxies agree.
    """

    teacher: Float[Tensor, ""]
    student: Float[Tensor, ""]
    cross: Float[Tensor, ""]
    selected: Bool[Tensor, " b"]


def c2kd_terms(
    student: Float[Tensor, "b k"],
    student_proxy: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    teacher_proxy: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    valid: Bool[Tensor, " b"] | None = None,
    threshold: float = 0.0,
    temperature: float = 1.0,
) -> C2KDTerms:
    """The divergences of Huo et al., CVPR 2024, from the logits of both networks and proxies.

    A network and its proxy imitate each other: KL both ways. The proxies of the two modalities
    imitate each other's non-target classes where Kendall's τ of their logits exceeds `threshold`.
    The target of every divergence is detached, as in the authors' code.

    The cross part is a mean over the labelled rows, in which a row that is not selected counts 0;
    an unlabelled row has no target class to leave out. The authors' code sets the target's logit to
    0 instead of leaving it out, so that e⁰ stays in the softmax. That is not the distribution over
    the non-target classes of the paper, whose value does not depend on the level of the logits.
    """
    keep = row_mask(valid, student)
    logits = (student, student_proxy, teacher, teacher_proxy)
    student, student_proxy, teacher, teacher_proxy = (zero_rows(z, keep) for z in logits)
    selected = kendall_tau_b(student_proxy, teacher_proxy) > threshold
    cross = non_target_kl(student_proxy, teacher_proxy.detach(), target, temperature)
    cross = cross + non_target_kl(teacher_proxy, student_proxy.detach(), target, temperature)
    return C2KDTerms(
        teacher=mutual_kl(teacher, teacher_proxy, keep, temperature),
        student=mutual_kl(student, student_proxy, keep, temperature),
        cross=masked_mean(torch.where(selected, cross, 0.0), keep & (target >= 0)),
        selected=selected & keep,
    )


def mutual_kl(
    first: Float[Tensor, "b k"],
    second: Float[Tensor, "b k"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """T²·(KL(p₂ ‖ p₁) + KL(p₁ ‖ p₂)), where the left side of each is constant."""
    forth = kd(first, second.detach(), valid, temperature)
    return forth + kd(second, first.detach(), valid, temperature)


def non_target_kl(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    temperature: float = 1.0,
) -> Float[Tensor, " b"]:
    """T²·KL(q_t ‖ q_s) of each row, q the softmax over the classes other than the target."""
    own = torch.arange(student.shape[1], device=student.device) == target[:, None]  # [B, K]
    log_s = (student / temperature).masked_fill(own, EXCLUDED).log_softmax(dim=1)
    log_t = (teacher / temperature).masked_fill(own, EXCLUDED).log_softmax(dim=1)
    divergence = torch.where(own, 0.0, log_t.exp() * (log_t - log_s)).sum(dim=1)
    return temperature**2 * divergence


@register_loss("c2kd")
class C2KD(Loss):
    """Two networks imitate each other through proxies, on samples whose classes both rank alike.

    λ1·(teacher ↔ proxy) + λ2·(student ↔ proxy) + λ3·(proxy ↔ proxy): `c2kd_terms`. The proxies are
    classifiers on the embeddings, made by `bind`, and train with the loss alone. In the paper they
    are a 1×1 convolution, BatchNorm, activation and a linear map; `proxy="mlp"` has the hidden
    layer. No proxy has the BatchNorm, so that a row's proxy does not depend on the other rows.

    As published, the teacher learns from the student in turn (`Distiller(train_teacher=True)`);
    with a frozen teacher its proxy still trains. The cross-entropies of both networks are not
    included. `terms` holds "c2kd/teacher", "c2kd/student", "c2kd/cross" and "c2kd/selected", the
    share of rows whose rankings agree.

    Args:
        teacher_weight: λ1.
        student_weight: λ2.
        cross_weight: λ3.
        threshold: ω, what Kendall's τ must exceed.
        temperature: divides all logits.
        proxy: a registered projector from an embedding to the classes.
        num_classes: number of classes K, where `bind` is not given it.
    """

    name = "c2kd"
    formula = "λ₁·KL(t ⇄ t̃) + λ₂·KL(s ⇄ s̃) + λ₃·[τ(s̃, t̃) > ω]·KL(s̃ ⇄ t̃ without the target)"
    paper = "Huo et al., CVPR 2024"
    needs = ("embedding", "logits", "labels")
    mutual = True
    shared_space = False

    def __init__(
        self,
        teacher_weight: float = 1.0,
        student_weight: float = 1.0,
        cross_weight: float = 1.0,
        threshold: float = 0.0,
        temperature: float = 1.0,
        proxy: str = "linear",
        num_classes: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, num_classes=num_classes)
        require_positive(self.name, temperature=temperature)
        if not -1 <= threshold < 1:
            raise ValueError(
                f"c2kd: threshold is compared with a correlation and must lie in [-1, 1), got "
                f"{threshold}"
            )
        require_not_negative(
            self.name,
            teacher_weight=teacher_weight,
            student_weight=student_weight,
            cross_weight=cross_weight,
        )
        self.teacher_weight = teacher_weight
        self.student_weight = student_weight
        self.cross_weight = cross_weight
        self.threshold = threshold
        self.temperature = temperature
        self.proxy = proxy
        self.num_classes = num_classes
        self.student_proxy: nn.Module | None = None
        self.teacher_proxy: nn.Module | None = None

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.student_proxy is None:
            classes = require_num_classes(
                self.name, "makes proxy classifiers", self.num_classes, num_classes
            )
            self.student_proxy = create_projector(self.proxy, width(student), classes)
            self.teacher_proxy = create_projector(self.proxy, width(teacher), classes)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        if self.student_proxy is None or self.teacher_proxy is None:
            raise ValueError(
                "c2kd has no proxies yet; call loss.bind(student, teacher, num_classes)"
            )
        target = require_target(self.name, target)
        require_logits(self.name, student, teacher)
        keep = row_mask(valid, student.embedding)
        student_proxy = self.student_proxy(zero_rows(student.embedding, keep))
        teacher_proxy = self.teacher_proxy(zero_rows(teacher.embedding, keep))
        require_classes(self.name, student_proxy.shape[1], student.logits)
        terms = c2kd_terms(
            student.logits,
            student_proxy,
            teacher.logits,
            teacher_proxy,
            target,
            keep,
            self.threshold,
            self.temperature,
        )
        share = masked_mean(terms.selected.to(terms.cross.dtype), keep)
        self.record({**terms._asdict(), "selected": share})
        value = self.teacher_weight * terms.teacher + self.student_weight * terms.student
        return value + self.cross_weight * terms.cross
