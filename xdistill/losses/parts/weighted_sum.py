"""Sums of losses, each with a weight."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from xdistill.losses.parts.loss import Loss


class WeightedSum(Loss):
    """A sum of losses, each with a weight. `terms` holds the last value of each, unweighted.

    Args:
        terms: pairs of weight and loss.
    """

    shared_space = False
    composite = True

    def __init__(self, terms: list[tuple[float, Loss]]):
        super().__init__()
        self.weights = [float(weight) for weight, _ in terms]
        self.losses = nn.ModuleList([loss for _, loss in terms])
        self.mutual = any(loss.mutual for _, loss in terms)
        self.labels = _unique([loss.label for _, loss in terms])

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        total = student.embedding.new_zeros(())
        terms: dict[str, Tensor] = {}
        for weight, label, loss in zip(self.weights, self.labels, self.summands(), strict=True):
            total = total + weight * loss(student, teacher, target, valid=valid, index=index)
            terms.update(
                {label + name.removeprefix(loss.label): v for name, v in loss.terms.items()}
            )
        self.terms = terms
        return total

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        for loss in self.summands():
            loss.bind(student, teacher, num_classes, num_samples)
        return self

    def set_progress(
        self, step: int | float, total: int | float, steps_per_epoch: int | float = 1
    ) -> None:
        for loss in self.summands():
            loss.set_progress(step, total, steps_per_epoch)

    def summands(self) -> Iterator[Loss]:
        """The losses that are added; none is a sum itself."""
        for loss in self.losses:
            assert isinstance(loss, Loss)
            yield loss

    def leaves(self) -> Iterator[Loss]:
        for loss in self.summands():
            yield from loss.leaves()

    def weighted_terms(self) -> list[tuple[float, Loss]]:
        return list(zip(self.weights, self.summands(), strict=True))

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def _unique(labels: list[str]) -> list[str]:
    """The labels, the second of a name with "_2" after it and so on."""
    return [
        label if (before := labels[:place].count(label)) == 0 else f"{label}_{before + 1}"
        for place, label in enumerate(labels)
    ]
