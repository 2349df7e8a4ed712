"""PHI-S: several teachers' embeddings on one scale, each by a rotation and a single factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.paired import PairedDataset


class PHIS(NamedTuple):
    """What PHI-S does to an embedding x: W·(x − μ).

    Attributes:
        mean: μ, [D].
        matrix: W, [D, D], an orthonormal matrix times 1/σ.
    """

    mean: Float[Tensor, " d"]
    matrix: Float[Tensor, "d d"]

    def apply(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The embeddings, standardised."""
        return ((x.double() - self.mean) @ self.matrix.T).to(x.dtype)

    def undo(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The embeddings as they were before `apply`."""
        return (x.double() @ torch.linalg.inv(self.matrix).T + self.mean).to(x.dtype)


def phi_s(features: Float[Tensor, "n d"]) -> PHIS:
    """The transform that gives every feature the same variance, on average 1, by one factor.

    Ranzinger et al., "PHI-S: distribution balancing for agglomerative models", 2024: rotate to the
    principal axes, then by a matrix R whose entries all have the size 1/√D, so that every feature
    gets an equal share of every axis, and divide by the root of the mean variance. Errors keep
    their proportions, since nothing but a rotation and a factor is applied, and one teacher's
    embedding counts as much as another's.

    R is a Hadamard matrix where Sylvester's and Paley's constructions reach D. For other D there is
    none, or none that is known here: R then is a product of rotations of two axes each, chosen for
    these variances, which gives equal variances as well (Schur and Horn).

    Args:
        features: of the training rows that have the teacher.

    Raises:
        ValueError: fewer than two rows, or rows that are all equal.
    """
    if len(features) < 2 or not bool((features != features[:1]).any()):
        raise ValueError(
            f"phi_s needs at least 2 rows that differ, got {list(features.shape)}; give the "
            "embeddings of the training rows"
        )
    rows = features.double()
    mean = rows.mean(dim=0)
    covariance = (rows - mean).T @ (rows - mean) / (len(rows) - 1)
    variances, axes = torch.linalg.eigh(covariance)
    variances = variances.clamp(min=0)
    spread = hadamard(len(mean))
    if spread is None:
        spread = _equalising(variances)
    return PHIS(mean, spread @ axes.T / variances.mean().sqrt())


def standardise_teachers(
    dataset: PairedDataset,
    teachers: Sequence[str] | None = None,
    fitted: dict[str, PHIS] | None = None,
) -> tuple[PairedDataset, dict[str, PHIS]]:
    """The dataset with its teachers' cached embeddings standardised by PHI-S.

        train, fitted = standardise_teachers(train)
        val, _ = standardise_teachers(val, fitted=fitted)

    Logits stay as they are. A teacher's classifier no longer fits the embedding.

    Args:
        dataset: with cached outputs (`cache_teacher`).
        teachers: names of the teachers; None for all that are cached.
        fitted: transforms of other rows, to apply instead of new ones.

    Raises:
        ValueError: no cached outputs of a teacher, or no transform of it in `fitted`.
    """
    names = sorted(dataset.cached) if teachers is None else list(teachers)
    missing = [name for name in names if name not in dataset.cached]
    if missing or not names:
        raise ValueError(
            f"standardise_teachers needs cached outputs of {missing or 'a teacher'}, the dataset "
            f"has those of {sorted(dataset.cached)}; call cache_teacher first"
        )
    if fitted is not None and (unknown := [name for name in names if name not in fitted]):
        raise ValueError(f"no transform of {unknown} in fitted, which has {sorted(fitted)}")
    cached, used = dict(dataset.cached), {}
    for name in names:
        embedding = cached[name].embedding
        has = dataset.rows_with(name)
        used[name] = phi_s(embedding[has]) if fitted is None else fitted[name]
        changed = torch.where(has[:, None], used[name].apply(embedding), embedding)
        cached[name] = replace(cached[name], embedding=changed)
    return dataset.replace(cached=cached), used


def hadamard(size: int) -> Float[Tensor, "d d"] | None:
    """An orthonormal matrix of entries ±1/√D; None where our constructions reach none.

    Sylvester's doubling of a matrix of order 1, or of one of order q + 1 for a prime q that leaves
    3 divided by 4 (Paley's first construction).
    """
    core, doublings = size, 0
    while core % 2 == 0 and not _is_paley(core):
        core, doublings = core // 2, doublings + 1
    if core == 1:
        matrix = torch.ones(1, 1, dtype=torch.float64)
    elif _is_paley(core):
        matrix = _paley(core - 1)
    else:
        return None
    double = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    for _ in range(doublings):
        matrix = torch.kron(double, matrix)
    return matrix / size**0.5


def _is_paley(order: int) -> bool:
    q = order - 1
    return q % 4 == 3 and all(q % divisor for divisor in range(2, int(q**0.5) + 1))


def _paley(q: int) -> Float[Tensor, "d d"]:
    """I + S, S the skew matrix of quadratic residues modulo q, bordered by ones."""
    character = -torch.ones(q, dtype=torch.float64)
    character[(torch.arange(1, q) ** 2) % q] = 1
    character[0] = 0
    place = torch.arange(q)
    skew = torch.zeros(q + 1, q + 1, dtype=torch.float64)
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = character[(place[None, :] - place[:, None]) % q]
    return skew + torch.eye(q + 1, dtype=torch.float64)


def _equalising(variances: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
    """An orthonormal R for which R·diag(v)·Rᵀ has the mean of v everywhere on its diagonal.

    Each step rotates an axis of more than the mean and one of less, still diagonal to each other,
    so far that the first has the mean; the second keeps the rest and goes on.
    """
    mean = variances.mean()
    rotation = torch.eye(len(variances), dtype=torch.float64)
    current = variances.clone()
    left = list(range(len(variances)))
    while len(left) > 1:
        low = min(left, key=lambda axis: float(current[axis]))
        high = max(left, key=lambda axis: float(current[axis]))
        gap = current[high] - current[low]
        # c²·low + s²·high = mean
        s2 = ((mean - current[low]) / gap).clamp(0, 1) if gap > 0 else mean.new_zeros(())
        c, s = (1 - s2).sqrt(), s2.sqrt()
        rotation[[low, high]] = torch.stack(
            [c * rotation[low] + s * rotation[high], c * rotation[high] - s * rotation[low]]
        )
        current[high] = current[high] + current[low] - mean
        current[low] = mean
        left.remove(low)
    return rotation
