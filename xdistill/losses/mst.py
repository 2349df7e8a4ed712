"""MST-Distill: specialised views of the teacher, and a gate that routes each row to some."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from xdistill.losses.parts.checks import require_classes, require_logits
from xdistill.losses.parts.kl import kl
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import (
    require_counts,
    require_not_negative,
    require_num_classes,
    require_positive,
)
from xdistill.numerics import EXCLUDED, masked_mean
from xdistill.registry import register_loss


class MSTTerms(NamedTuple):
    """The parts of the loss, unweighted scalars.

    Attributes:
        distillation: KD from the k teachers that the gate chose; to the student and the gate.
        task: cross-entropy of the chosen teachers on labelled rows; to them and the gate.
        drift: KD from the student to every specialised teacher, to the teachers alone.
        balance: KL(uniform ‖ the gate's mean choice); to the gate.
    """

    distillation: Float[Tensor, ""]
    task: Float[Tensor, ""]
    drift: Float[Tensor, ""]
    balance: Float[Tensor, ""]


def route(gate: Float[Tensor, "b m"], k: int) -> Float[Tensor, "b m"]:
    """Weight 1/k for the k likeliest teachers of each row, 0 for the others.

    Gradient passes as if the weights were softmax(gate), because the choice has no gradient, and
    renormalised probabilities have none when k = 1. The gate thus learns from the cost of every
    teacher, including those that it did not choose.
    """
    soft = gate.softmax(dim=1)
    hard = torch.zeros_like(soft).scatter(1, soft.topk(k, dim=1).indices, 1 / k)
    return hard + (soft - soft.detach())


def balance(gate: Float[Tensor, "b m"], keep: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """KL(uniform ‖ mean over rows of softmax(gate)), in log space; 0 when no row counts."""
    log_gate = gate.log_softmax(dim=1).masked_fill(~keep[:, None], EXCLUDED)
    rows = keep.sum().clamp(min=1).to(gate.dtype)
    log_mean = log_gate.logsumexp(dim=0) - rows.log()  # [M]
    value = -math.log(gate.shape[1]) - log_mean.mean()
    return torch.where(keep.any(), value, torch.zeros_like(value))


def mst_terms(
    student: Float[Tensor, "b k"],
    teachers: Float[Tensor, "b m k"],
    gate: Float[Tensor, "b m"],
    target: Int64[Tensor, " b"] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    k: int = 1,
    temperature: float = 4.0,
) -> MSTTerms:
    """The terms of MST-Distill (Li et al., ACM MM 2025), stages 2 and 3, for logits of M teachers.

    `MST` says which parts are the paper's.
    """
    keep = row_mask(valid, student)
    student, teachers, gate = (zero_rows(x, keep) for x in (student, teachers, gate))
    weights = route(gate, k)
    log_s = (student / temperature).log_softmax(dim=1)[:, None]  # [B, 1, K]
    log_t = (teachers / temperature).log_softmax(dim=2)  # [B, M, K]
    divergence = kl(log_t.detach(), log_s)  # [B, M]
    drift = kl(log_s.detach(), log_t).mean(dim=1)
    task = student.new_zeros(())
    if target is not None:
        labelled = keep & (target >= 0)
        place = target.clamp(min=0)[:, None, None].expand(-1, teachers.shape[1], 1)
        wrong = -teachers.log_softmax(dim=2).gather(2, place).squeeze(2)  # [B, M]
        task = masked_mean((weights * wrong).sum(dim=1), labelled)
    return MSTTerms(
        distillation=temperature**2 * masked_mean((weights * divergence).sum(dim=1), keep),
        task=task,
        drift=temperature**2 * masked_mean(drift, keep),
        balance=balance(gate, keep),
    )


class SpecialisedTeachers(nn.Module):
    """M views of one teacher, each through a mask of its own over the channels of its embedding.

    z_i = z_t − V((1 − m_i(f_t)) ⊙ f_t): the contribution of the masked channels is removed from the
    logits. Where V is the weight of the teacher's last, linear layer, this is its output for the
    masked embedding.

    Args:
        dim: width D of the teacher's embedding.
        num_classes: number of classes K.
        num_teachers: M.
        classifier: the teacher's last layer, whose weight is copied and frozen; None learns V.
    """

    def __init__(
        self, dim: int, num_classes: int, num_teachers: int, classifier: nn.Linear | None = None
    ):
        super().__init__()
        hidden = max(dim // 2, 1)
        self.masks = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.Sigmoid())
            for _ in range(num_teachers)
        )
        self.readout = nn.Linear(dim, num_classes, bias=False)
        if classifier is not None:
            self.readout.weight.requires_grad_(False).copy_(classifier.weight.detach())

    def forward(
        self, embedding: Float[Tensor, "b d"], logits: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b m k"]:
        """The logits of every view."""
        masks = torch.stack([mask(embedding) for mask in self.masks], dim=1)  # [B, M, D]
        return logits[:, None] - self.readout((1 - masks) * embedding[:, None])


@register_loss("mst")
class MST(Loss):
    """Each row learns from the k of M specialised teachers that a gate selects for it.

    Li et al., "MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge
    Distillation", ACM MM 2025. From the paper: masks turn one teacher into several and are trained
    towards the student (drift); a gate reads the student's logits; KD from its k choices teaches
    the student; a divergence from the uniform choice keeps all teachers in use. Its three stages
    run one after the other, and there are two teachers with two masked layers each; here masks act
    on the embedding of one teacher, and everything trains at once.

    In the published code the gate gets no gradient from its choices, so that it learns balance
    only, and masks accumulate: each pass leaves a hook, and a later teacher is seen through the
    masks of the earlier ones. Here the gate learns from every teacher's cost (`route`), which
    includes the teacher's own cross-entropy on labelled rows: without it the cheapest teacher would
    be the one that repeats the student. Masks always apply to the teacher's own embedding. The
    gate's input is detached, so that the student is not trained to be routed elsewhere.

    The published code also divides the balance by M, halves the weight of the distillation every 30
    epochs, and lowers that of the balance by a tenth every 10; none of this is done here.

    Without the classifier, a readout is learned from task and drift, which can move the views
    further towards the student than masks alone could: give the classifier where the teacher's last
    layer is linear.

    Args:
        num_teachers: M specialised teachers.
        k: how many of them teach a row.
        temperature: divides the logits of the distillation and of the drift.
        balance_weight: of the divergence from the uniform choice.
        classifier: the teacher's last layer, applied to the masked embedding; None learns one.
        num_classes: number of classes K.
    """

    name = "mst"
    formula = "Σ_{top k} (KD(z_i, z_s) + CE(z_i, y))/k + mean KD(z_s, z_i) + KL(U ‖ mean gate)"
    paper = "Li et al., ACM MM 2025"
    needs = ("embedding", "logits")
    uses = ("labels",)
    shared_space = False

    def __init__(
        self,
        num_teachers: int = 4,
        k: int = 1,
        temperature: float = 4.0,
        balance_weight: float = 1.0,
        classifier: nn.Linear | None = None,
        num_classes: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, num_teachers=num_teachers, k=k, num_classes=num_classes)
        if not 1 <= k <= num_teachers:
            raise ValueError(
                f"mst routes each row to k of its teachers, got k={k} and "
                f"num_teachers={num_teachers}; give k from 1 to num_teachers"
            )
        self.num_teachers = num_teachers
        self.k = k
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        require_not_negative(self.name, balance_weight=balance_weight)
        self.balance_weight = balance_weight
        self.num_classes = num_classes
        self.teachers: SpecialisedTeachers | None = None
        self.gate: nn.Sequential | None = None
        if classifier is not None:
            self._make(classifier.in_features, classifier.out_features, classifier)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.gate is None:
            classes = require_num_classes(
                self.name, "routes by class logits", self.num_classes, num_classes
            )
            self._make(width(teacher), classes)
        return self

    def _make(self, dim: int, classes: int, classifier: nn.Linear | None = None) -> None:
        self.num_classes = classes
        self.teachers = SpecialisedTeachers(dim, classes, self.num_teachers, classifier)
        self.gate = nn.Sequential(
            nn.Linear(classes, 2 * classes), nn.ReLU(), nn.Linear(2 * classes, self.num_teachers)
        )

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        if self.gate is None or self.teachers is None:
            raise ValueError(
                "mst has no gate yet; call loss.bind(student, teacher, num_classes) or create it "
                "with the teacher's classifier"
            )
        require_classes(self.name, self.num_classes, student.logits)
        keep = row_mask(valid, student.logits)
        seen = zero_rows(student.logits.detach(), keep)
        terms = mst_terms(
            student.logits,
            self.teachers(teacher.embedding, teacher.logits),
            self.gate(seen),
            target,
            keep,
            self.k,
            self.temperature,
        )
        self.record(terms._asdict())
        return terms.distillation + terms.task + terms.drift + self.balance_weight * terms.balance
