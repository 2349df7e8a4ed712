"""How good embeddings are without a classifier: retrieval between modalities, a linear probe."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def recall_at(
    k: int, student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"], block: int = 1024
) -> float:
    """Share of the rows whose own teacher row is among the k of greatest cosine similarity.

    A row that ties with its own counts as before it, so that equal embeddings retrieve nothing; NaN
    where an embedding is not finite.
    """
    if not bool(student.isfinite().all() & teacher.isfinite().all()):
        return float("nan")
    student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    hits = 0
    for start in range(0, len(student), block):
        similarity = student[start : start + block] @ teacher.T
        own = torch.arange(len(similarity), device=similarity.device)
        as_near = similarity >= similarity[own, own + start, None]  # itself too
        hits += int((as_near.sum(dim=1) <= k).sum())
    return hits / len(student)


def probe_accuracy(
    embedding: Float[Tensor, "n d"],
    target: Int64[Tensor, " n"],
    group: Int64[Tensor, " n"],
    ridge: float = 1.0,
) -> float:
    """Accuracy of a linear classifier on the embeddings, two-fold over whole groups.

    Ridge regression to one-hot classes on standardised embeddings (Hastie, Tibshirani & Friedman,
    The Elements of Statistical Learning, section 4.2), fitted on every second group and scored on
    the others, then the other way round. Rows with target -1 are left out; NaN where fewer than two
    groups are labelled, or an embedding is not finite.
    """
    known = target >= 0
    embedding, target, group = embedding[known].double(), target[known], group[known]
    order = group.unique(return_inverse=True)
    first = order[1] % 2 == 0
    if len(order[0]) < 2 or not bool(embedding.isfinite().all()):
        return float("nan")
    right = sum(
        int((_answers(embedding, target, fold, ridge) == target[~fold]).sum())
        for fold in (first, ~first)
    )
    return right / len(target)


def _answers(
    embedding: Float[Tensor, "n d"],
    target: Int64[Tensor, " n"],
    fold: Bool[Tensor, " n"],
    ridge: float,
) -> Int64[Tensor, " m"]:
    seen = embedding[fold]
    mean, std = seen.mean(0), seen.std(0, correction=0).clamp(min=1e-12)
    x = F.pad((embedding - mean) / std, (0, 1), value=1.0)  # [n, d + 1]
    y = F.one_hot(target[fold], int(target.max()) + 1).double()
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(x[fold].T @ x[fold] + ridge * eye, x[fold].T @ y)
    return (x[~fold] @ weight).argmax(dim=1)


class EmbeddingMetrics(Metric):
    """`recall@1`, `recall@5` (of each teacher) and `probe_accuracy` over a validation set.

    With several processes it is computed over the rows of all; a row that a sampler repeated to
    fill the last batch counts once.
    """

    full_state_update = False

    def __init__(self, teachers: tuple[str, ...], **options: Any):
        super().__init__(**options)
        self.teachers = teachers
        for name in ("embedding", "target", "group", "index"):
            self.add_state(name, [], dist_reduce_fx="cat")
        for place in range(len(teachers)):
            for name in ("student", "teacher", "row"):
                self.add_state(f"{name}{place}", [], dist_reduce_fx="cat")

    def update(
        self,
        embedding: Float[Tensor, "b d"],
        target: Int64[Tensor, " b"],
        group: Int64[Tensor, " b"],
        index: Int64[Tensor, " b"],
        pairs: dict[str, tuple[Tensor, Tensor, Tensor]],
    ) -> None:
        """Add a batch.

        Args:
            embedding: the student's.
            target: class, -1 where unlabelled.
            group: subject.
            index: position in the validation set.
            pairs: per teacher, embeddings of student and teacher in their shared space and the
                index, of the valid rows.
        """
        rows = {"embedding": embedding.float(), "target": target, "group": group, "index": index}
        for place, teacher in enumerate(self.teachers):
            if teacher in pairs:
                student, other, row = pairs[teacher]
                rows |= {
                    f"student{place}": student.float(),
                    f"teacher{place}": other.float(),
                    f"row{place}": row,
                }
        for name, one in rows.items():
            getattr(self, name).append(one)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name; those that the rows do not allow are left out."""
        values: dict[str, float] = {}
        for place, teacher in enumerate(self.teachers):
            pair = self._rows(f"row{place}", f"student{place}", f"teacher{place}")
            if pair is None or len(pair[0]) < 2 or pair[0].shape != pair[1].shape:
                continue
            prefix = f"{teacher}/" if len(self.teachers) > 1 else ""
            values |= {f"{prefix}recall@{k}": recall_at(k, pair[0], pair[1]) for k in (1, 5)}
        labelled = self._rows("index", "embedding", "target", "group")
        if labelled is not None and labelled[1].ndim == 1 and bool((labelled[1] >= 0).any()):
            embedding, target, group = labelled
            values["probe_accuracy"] = probe_accuracy(embedding, target, group)
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}

    def _rows(self, index: str, *names: str) -> list[Tensor] | None:
        """The states of these names, one row of each index."""
        if not isinstance(getattr(self, index), Tensor) and not getattr(self, index):
            return None
        rows = dim_zero_cat(getattr(self, index)).tolist()
        first = list({row: place for place, row in reversed(list(enumerate(rows)))}.values())
        keep = torch.tensor(first, device=self.device).sort().values
        return [dim_zero_cat(getattr(self, name))[keep] for name in names]
