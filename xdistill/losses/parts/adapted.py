"""The student's embedding at the teacher's width, for losses that compare the two row by row."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from xdistill.types import Outputs

BIND = "call loss.bind(student, teacher), which makes an adapter"


def adapted(
    loss: str,
    adapter: nn.Module | None,
    student: Outputs,
    teacher: Outputs,
    advice: str = BIND,
) -> Float[Tensor, "b d"]:
    """The student's embedding, through the adapter where there is one.

    Args:
        loss: its name.
        adapter: maps the student's width to the teacher's; None where they are one.
        student: outputs of the student.
        teacher: outputs of the teacher.
        advice: what to do where the widths differ, for the message.

    Raises:
        ValueError: the widths differ.
    """
    ours = student.embedding if adapter is None else adapter(student.embedding)
    if ours.shape[1] != teacher.embedding.shape[1]:
        raise ValueError(
            f"{loss} compares embeddings of one width, got {ours.shape[1]} (student) and "
            f"{teacher.embedding.shape[1]} (teacher); {advice}"
        )
    return ours
