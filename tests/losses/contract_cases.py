"""Batches that every loss must bear: degenerate, saturated, unlabelled, masked."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.losses.batches import (
    Batch,
)
from xdistill.types import Outputs


def scaled(batch: Batch, embedding: float = 1.0, logits: float = 1.0) -> Batch:
    def scale(one: Outputs) -> Outputs:
        width = torch.as_tensor(embedding)

        def rows(tensor: torch.Tensor) -> torch.Tensor:  # a factor, or one for each row
            return tensor * width.reshape(-1, *[1] * (tensor.ndim - 1))

        hidden = {name: rows(tensor) for name, tensor in one.hidden.items()}
        return Outputs(rows(one.embedding), one.logits * logits, hidden)

    return batch.change(student=scale(batch.student), teacher=scale(batch.teacher))


def saturated(batch: Batch) -> Batch:
    """Logits of ±1e4, student and teacher of opposite opinions."""
    logits = 1e4 * batch.student.logits.sign()
    return batch.change(
        student=replace(batch.student, logits=logits),
        teacher=replace(batch.teacher, logits=-logits),
    )


def aligned(batch: Batch) -> Batch:
    """The student says exactly what the teacher says."""
    student = batch.student
    return batch.change(
        teacher=replace(batch.teacher, embedding=student.embedding, logits=student.logits)
    )


def all_rows_equal(batch: Batch) -> Batch:
    return batch.rows(torch.zeros(len(batch.target), dtype=torch.int64)).change(
        target=batch.target, index=batch.index
    )


def labelled(*target: int):
    return lambda batch: batch.change(target=torch.tensor(target))


def masked(*valid: bool):
    return lambda batch: batch.change(valid=torch.tensor(valid))


CASES = {
    "plain": lambda batch: batch,
    "one row": lambda batch: batch.rows(torch.tensor([0])),
    "two rows": lambda batch: batch.rows(torch.tensor([0, 1])),
    "one class": labelled(1, 1, 1, 1, 1, 1),
    "all rows equal": all_rows_equal,
    "zero embeddings": lambda batch: scaled(batch, embedding=0.0),
    "zero logits": lambda batch: scaled(batch, logits=0.0),
    "one zero embedding": lambda batch: scaled(
        batch, embedding=(torch.arange(6) > 0).float()[:, None]
    ),
    "tiny embeddings": lambda batch: scaled(batch, embedding=1e-20),
    "large embeddings": lambda batch: scaled(batch, embedding=1e4),
    "saturated logits": saturated,
    "saturated and equal": lambda batch: aligned(saturated(batch)),
    "student is teacher": aligned,
    "some unlabelled": labelled(0, -1, 1, -1, 0, 2),
    "one labelled": labelled(-1, -1, 1, -1, -1, -1),
    "none labelled": labelled(-1, -1, -1, -1, -1, -1),
    "some missing": masked(True, False, True, True, False, True),
    "one present": masked(False, False, True, False, False, False),
    "none present": masked(*[False] * 6),
    "empty class after masking": lambda batch: labelled(0, 1, 1, 1, -1, -1)(
        masked(False, True, True, True, True, False)(batch)
    ),
}
