"""Refine a teacher's targets with the known labels and a graph of neighbouring rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.cache import cached_logits
from xdistill.data.paired import PairedDataset
from xdistill.kernels.passes.neighbours import nearest_keys

Targets = Literal["own", "smoothed", "corrected"]
"""What a student can learn from: the teacher's own probabilities, those smoothed over a graph of
both modalities, or those corrected by the known labels along that graph and then smoothed."""
TARGETS: tuple[Targets, ...] = get_args(Targets)
LEAST = 1e-4
"""Smallest probability of a corrected target."""


class Graph(NamedTuple):
    """Edges between N rows and the normalised weights on them, both directions of each edge.

    Attributes:
        edges: [2, E] int64, from and to.
        weights: [E], entries of S = D^−½ W D^−½.
    """

    edges: Int64[Tensor, "2 e"]
    weights: Float[Tensor, " e"]

    def spread(self, values: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """S · values."""
        source, sink = self.edges
        return torch.zeros_like(values).index_add_(0, sink, values[source] * self.weights[:, None])


def joint_graph(
    teacher: Float[Tensor, "n e"], student: Float[Tensor, "n d"], neighbours: int = 20
) -> Graph:
    """The nearest rows in both modalities at once.

    c_ij = ½(e_i·e_j + s_i·s_j) for the rows e and s of both at length one. Each row keeps its
    `neighbours` highest; the weight of an edge is max(c, 0)³, the mean over its two directions.

    Args:
        teacher: the teacher's embeddings.
        student: the student's input as a vector, or its encoder's embedding.
        neighbours: how many; N − 1 at most.
    """
    both = torch.cat([F.normalize(teacher), F.normalize(student)], dim=1) / 2**0.5  # c = b_i·b_j
    count = min(neighbours, len(both) - 1)
    place, found = nearest_keys(both, both, None, 0, count)
    source = torch.arange(len(both))[:, None].expand_as(place)[found]
    sink = place[found]
    weight = (both[source] * both[sink]).sum(dim=1).clamp(min=0) ** 3 / 2
    edges = torch.cat([torch.stack([source, sink]), torch.stack([sink, source])], dim=1)
    weight = torch.cat([weight, weight])
    degree = weight.new_zeros(len(both)).index_add_(0, edges[1], weight)
    scale = torch.where(degree > 0, degree, 1.0).rsqrt()
    return Graph(edges, scale[edges[0]] * weight * scale[edges[1]])


def correct_and_smooth(
    probabilities: Float[Tensor, "n k"],
    target: Int64[Tensor, " n"],
    graph: Graph,
    *,
    correct: bool = True,
    correct_share: float = 0.95,
    smooth_share: float = 0.8,
    steps: int = 40,
) -> Float[Tensor, "n k"]:
    """Probabilities that agree with the known labels and with their neighbours.

    After Huang et al., "Combining label propagation and simple models outperforms graph neural
    networks", ICLR 2021. Correct: the teacher's error y − p on the labelled rows spreads,
    R ← α·S·R + (1 − α)·R⁰, and so does m, the share of labelled mass that reaches a row; p + R/m is
    the corrected target. (The paper scales errors by one number for all rows; m is ours.) Smooth:
    Q ← β·S·Q + (1 − β)·q. Labelled rows stay what they are.

    Args:
        probabilities: the teacher's, rows that sum to 1.
        target: [N] class, -1 where unlabelled.
        graph: over the N rows.
        correct: spread errors first.
        correct_share: α.
        smooth_share: β.
        steps: of either.
    """
    known = target >= 0
    exact = F.one_hot(target.clamp(min=0), probabilities.shape[1]).to(probabilities)
    corrected = probabilities
    if correct:
        error = torch.where(known[:, None], exact - probabilities, 0.0)
        start = torch.cat([error, known[:, None].to(error)], dim=1)
        spread = start
        for _ in range(steps):
            spread = correct_share * graph.spread(spread) + (1 - correct_share) * start
        corrected = probabilities + spread[:, :-1] / (spread[:, -1:] + 1e-3)
    corrected = _normalised(corrected.clamp(min=LEAST))
    corrected = torch.where(known[:, None], exact, corrected)
    smooth = corrected
    for _ in range(steps):
        smooth = smooth_share * graph.spread(smooth) + (1 - smooth_share) * corrected
        smooth = torch.where(known[:, None], exact, smooth)
    return _normalised(smooth.clamp(min=LEAST))


def refine_targets(
    dataset: PairedDataset,
    modality: str,
    student: Float[Tensor, "n d"],
    *,
    neighbours: int = 20,
    correct: bool | None = None,
    steps: int = 40,
) -> PairedDataset:
    """The dataset with a teacher's cached logits replaced by refined ones: log probabilities.

    Once, before training: `joint_graph` over the teacher's embeddings and what the student sees,
    then `correct_and_smooth`. Rows without the teacher stay without. Neighbours that do not share
    a class make targets worse, so compare on validation with the teacher's own.

    Args:
        dataset: with cached outputs of the teacher that have logits (`cache_teacher`,
            `cross_fit_teacher`), and labels in some rows.
        modality: the teacher's.
        student: [N, D] the student's input as a vector, or its encoder's embedding.
        neighbours: edges that each row starts.
        correct: spread the teacher's errors. None: where the labels come from more than one group,
            since one subject's errors say little of the others.
        steps: how far values spread.

    Raises:
        ValueError: no cached logits of that teacher, several classes a row, another number of rows,
            no row that has the teacher, NaN or infinity, or a number out of range.
    """
    given = cached_logits(dataset, modality, "refine_targets")
    embedding = dataset.cached[modality].embedding
    if dataset.target_kind != "class" or len(student) != len(dataset):
        raise ValueError(
            f"refine_targets takes one class a row and one row of student for each, got target "
            f"{list(dataset.target.shape)} and student {list(student.shape)}"
        )
    if neighbours < 1 or steps < 0:
        raise ValueError(
            f"neighbours must be at least 1 and steps at least 0, got {neighbours} and {steps}"
        )
    rows = dataset.rows_with(modality).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"no row of the dataset has {modality}; there is nothing to refine")
    named = {"embedding": embedding, "logits": given, "student": student}
    for name, tensor in named.items():
        finite = torch.isfinite(tensor[rows].flatten(1)).all(dim=1)
        if not bool(finite.all()):  # one such row would take a place among every row's neighbours
            first = int(rows[~finite][0])
            raise ValueError(
                f"{name} holds NaN or infinity in {int((~finite).sum())} rows (first: "
                f"{dataset.ids[first]}); leave them out with subset(), or mark them in valid"
            )
    target = dataset.target[rows]
    if correct is None:
        correct = len(dataset.group[rows][target >= 0].unique()) > 1
    graph = joint_graph(embedding[rows].double(), student[rows].flatten(1).double(), neighbours)
    refined = correct_and_smooth(
        given[rows].double().softmax(dim=1), target, graph, correct=correct, steps=steps
    )
    logits = torch.zeros_like(given)
    logits[rows] = refined.log().to(logits.dtype)
    outputs = replace(dataset.cached[modality], logits=logits)
    return dataset.replace(cached={**dataset.cached, modality: outputs})


def _normalised(values: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    return values / values.sum(dim=1, keepdim=True)
