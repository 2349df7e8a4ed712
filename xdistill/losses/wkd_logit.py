"""Wasserstein distance of class probabilities: confusing like classes costs less."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from xdistill.losses.parts.centred_rows import centred_rows
from xdistill.losses.parts.checks import require_logits, require_target
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.non_target import without_target
from xdistill.losses.parts.options import (
    require_counts,
    require_not_negative,
    require_num_classes,
    require_positive,
)
from xdistill.losses.parts.sinkhorn import transport_between
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.numerics import EXCLUDED, masked_mean
from xdistill.registry import register_loss


def wkd_logit(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b k"],
    target: Int64[Tensor, " b"],
    cost: Float[Tensor, "k k"],
    valid: Bool[Tensor, " b"] | None = None,
    gamma: float = 30.0,
    temperature: float = 2.0,
    regularisation: float = 0.05,
    iterations: int = 10,
) -> Float[Tensor, ""]:
    """Mean of −p_t(y)·log p_s(y) + γ·W(p̂_s, p̂_t) (Lv et al., NeurIPS 2024).

    p̂ is the softmax at a temperature over the classes other than the label, and W the entropic
    transport cost between the two (`parts.sinkhorn.transport_between`). Rows labelled -1 and rows
    without a teacher are left out.

    Args:
        cost: of moving probability from class i to class j, not negative, 0 on the diagonal.
    """
    keep = row_mask(valid, student) & (target >= 0)
    student, teacher = zero_rows(student, keep), zero_rows(teacher, keep)
    label = target.clamp(min=0)[:, None]
    log_s, log_t = (z.log_softmax(dim=1).gather(1, label)[:, 0] for z in (student, teacher))
    log_p, log_q = (
        (without_target(z, target) / temperature).log_softmax(dim=1) for z in (student, teacher)
    )
    column = torch.arange(student.shape[1] - 1, device=student.device)
    other = column + (column >= label).long()  # [B, K-1]
    moved = transport_between(
        log_p,
        log_q.clamp(min=EXCLUDED),  # of −∞, a class that the teacher excludes
        cost.to(student.dtype)[other[:, :, None], other[:, None, :]],
        regularisation,
        iterations,
    )
    return masked_mean(gamma * moved - log_t.exp() * log_s, keep)


@torch.no_grad()
def prototype_costs(
    prototypes: Float[Tensor, "k d"],
    seen: Bool[Tensor, " k"] | None = None,
    sharpness: float = 1.0,
) -> Float[Tensor, "k k"]:
    """1 − exp(−κ·(1 − cos)) between the classes' vectors, their common mean subtracted.

    The vectors are the teacher's mean embeddings of each class, or the rows of its classifier. The
    public code compares classifiers' rows without subtracting their mean. A class that was not seen
    is at the distance of a right angle from every other.

    Args:
        prototypes: a vector for each class.
        seen: the classes that have one; all when None.
        sharpness: κ.
    """
    unit = unit_rows(centred_rows(prototypes, row_mask(seen, prototypes)))
    return _sharpened(1 - unit @ unit.T, sharpness)


@torch.no_grad()
def cka_costs(
    features: Float[Tensor, "n d"],
    target: Int64[Tensor, " n"],
    num_classes: int,
    sharpness: float = 1.0,
) -> Float[Tensor, "k k"]:
    """1 − exp(−κ·(1 − CKA)) between the classes, from a teacher's features of the training rows.

    CKA with a linear kernel of two classes' features, as many rows of each class as the smallest
    has. CKA compares row by row, so the n-th row of one class is set beside the n-th of another,
    in the order given; the paper's public code does the same.

    Args:
        features: the teacher's embeddings or logits.
        target: their classes; rows labelled -1 are left out.
        num_classes: K.
        sharpness: κ.

    Raises:
        ValueError: a class with fewer than two rows.
    """
    counts = [int((target == label).sum()) for label in range(num_classes)]
    if min(counts) < 2:
        raise ValueError(
            f"cka_costs needs at least 2 rows of each class, got {min(counts)} of class "
            f"{counts.index(min(counts))}; give features of more rows, or use prototype_costs"
        )
    rows = torch.stack([features[target == label][: min(counts)] for label in range(num_classes)])
    rows = rows - rows.mean(dim=1, keepdim=True)  # [K, n, D]
    grams = unit_rows((rows @ rows.mT).flatten(1))
    return _sharpened(1 - grams @ grams.T, sharpness)


def _sharpened(distance: Float[Tensor, "k k"], sharpness: float) -> Float[Tensor, "k k"]:
    cost = -torch.expm1(-sharpness * distance.clamp(min=0))
    return cost - cost.diagonal().diag()


@register_loss("wkd_logit")
class WKDLogit(Loss):
    """The teacher's ranking of the wrong classes, as masses that move between classes.

    KL compares class by class, so that all mistakes are equally bad. Here probability that is moved
    to a similar class costs little. How similar classes are is a matrix: from the teacher's
    features of the training set (`cka_costs`, the paper's), from its classifier
    (`prototype_costs`), or, with cost=None, from the mean of its embeddings of each class over all
    labelled rows so far, this batch included. Those means assume a frozen teacher. Only labelled
    rows count. The public code adds 1e-8 to the denominators of Sinkhorn's algorithm, which takes
    mass away where costs are large against ε; here it runs on logarithms. It lets γ fall to 0 along
    a cosine over the last epochs; `xd.ramp` lets a weight fall.

    Args:
        cost: [K, K], not negative, 0 on the diagonal; None for that of the classes' means.
        gamma: γ, weight of the transport; 30 is the public code's for ImageNet, at T = 2, and 600
            for CIFAR-100, at T = 8.
        temperature: divides the logits of the wrong classes.
        sharpness: κ of `prototype_costs`, without a given cost.
        regularisation: ε of Sinkhorn's algorithm, in the units of the cost.
        iterations: number of its iterations.
    """

    name = "wkd_logit"
    formula = "−p_t(y)·log p_s(y) + γ·min_P Σ P_ij·c_ij from p̂_s to p̂_t, p̂ over i ≠ y"
    paper = "Lv et al., NeurIPS 2024"
    needs = ("logits", "labels")
    uses = ("embedding",)
    shared_space = False
    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        cost: Float[Tensor, "k k"] | None = None,
        gamma: float = 30.0,
        temperature: float = 2.0,
        sharpness: float = 1.0,
        regularisation: float = 0.05,
        iterations: int = 10,
    ):
        super().__init__()
        require_not_negative(self.name, gamma=gamma)
        require_positive(
            self.name, temperature=temperature, sharpness=sharpness, regularisation=regularisation
        )
        require_counts(self.name, iterations=iterations)
        self.cost = None
        if cost is not None:
            del self.cost
            self.register_buffer("cost", _checked(cost))
            self.uses = ()  # type: ignore[misc]
        self.keeps_memory = cost is None
        self.gamma = gamma
        self.temperature = temperature
        self.sharpness = sharpness
        self.regularisation = regularisation
        self.iterations = iterations

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.cost is None and not hasattr(self, "sums"):
            classes = require_num_classes(self.name, "keeps a mean per class", None, num_classes)
            self.register_buffer("sums", torch.zeros(classes, width(teacher)))
            self.register_buffer("counts", torch.zeros(classes))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, student, teacher)
        target = require_target(self.name, target)
        cost = self.cost
        if cost is None:
            sums, counts = self._with(teacher.embedding, target, valid)
            means = sums / counts.clamp(min=1)[:, None]
            cost = prototype_costs(means, counts > 0, self.sharpness)
        classes = student.logits.shape[1]
        if len(cost) != classes:
            raise ValueError(
                f"wkd_logit has costs between {len(cost)} classes, the student has {classes}; give "
                "cost [K, K], or bind with the student's num_classes"
            )
        return wkd_logit(
            student.logits,
            teacher.logits,
            target,
            cost,
            valid,
            self.gamma,
            self.temperature,
            self.regularisation,
            self.iterations,
        )

    def remember(self, teacher, target=None, *, valid=None, index=None):
        if target is not None:
            sums, counts = self._with(teacher.embedding, target, valid)
            self.sums.copy_(sums)
            self.counts.copy_(counts)

    @torch.no_grad()
    def _with(
        self,
        embedding: Float[Tensor, "b d"],
        target: Int64[Tensor, " b"],
        valid: Bool[Tensor, " b"] | None,
    ) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """Sum and number of the embeddings of each class, this batch included."""
        if not hasattr(self, "sums"):
            raise ValueError(
                "wkd_logit has no means of classes yet; call loss.bind(student, teacher, "
                "num_classes), or give cost [K, K]"
            )
        keep = row_mask(valid, embedding) & (target >= 0)
        label = torch.arange(len(self.counts), device=target.device)
        members = (keep[:, None] & (target[:, None] == label)).to(self.sums.dtype)  # [B, K]
        rows = zero_rows(embedding, keep).to(self.sums.dtype)
        return self.sums + members.T @ rows, self.counts + members.sum(dim=0)


def _checked(cost: Tensor) -> Tensor:
    square = cost.ndim == 2 and cost.shape[0] == cost.shape[1]
    if not square or not bool((cost >= 0).all()) or bool(cost.diagonal().any()):
        raise ValueError(
            f"wkd_logit: cost must be [K, K], not negative and 0 on the diagonal, got "
            f"{list(cost.shape)}; make one with xdistill.losses.wkd_logit.cka_costs"
        )
    return cost.detach().clone()
