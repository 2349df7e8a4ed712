"""A learned critic that scores how well a student row and a teacher row match."""

from __future__ import annotations

import math

from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_counts
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import create_projector
from xdistill.types import Outputs


class SeparableCritic(nn.Module):
    """T(s, t) = f(s)ᵀ g(t)/√E, f and g one MLP each: B² scores from one product of [B, E] matrices.

    A critic of both rows jointly would hold B² times its hidden width. Rows are scaled to length
    √width first, so that large embeddings do not get larger scores. Mutual information does not
    depend on a scale, but information in the length of a row is lost.

    Args:
        student_dim: width of the student's embedding.
        teacher_dim: width of the teacher's embedding.
        hidden_dim: width between the two maps of each MLP.
        critic_dim: E, the width in which they meet.
    """

    def __init__(self, student_dim: int, teacher_dim: int, hidden_dim: int, critic_dim: int):
        super().__init__()
        self.student = create_projector("mlp", student_dim, critic_dim, hidden_dim=hidden_dim)
        self.teacher = create_projector("mlp", teacher_dim, critic_dim, hidden_dim=hidden_dim)

    def forward(
        self, student: Float[Tensor, "b d"], teacher: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b b"]:
        """T(s_i, t_j); the pairs are on the diagonal."""
        f = self.student(math.sqrt(student.shape[1]) * unit_rows(student))
        g = self.teacher(math.sqrt(teacher.shape[1]) * unit_rows(teacher))
        return f @ g.T / math.sqrt(f.shape[1])


class CriticLoss(Loss):
    """A loss that owns a critic, made in `bind`, or here when both widths are given.

    Args:
        hidden_dim: width between the two maps of each MLP of the critic.
        critic_dim: width of the MLPs' outputs.
        student_dim: width of the student's embedding.
        teacher_dim: width of the teacher's embedding.
    """

    shared_space = False

    def __init__(
        self,
        hidden_dim: int = 256,
        critic_dim: int = 128,
        student_dim: int | None = None,
        teacher_dim: int | None = None,
    ):
        super().__init__()
        require_counts(
            self.label,
            hidden_dim=hidden_dim,
            critic_dim=critic_dim,
            student_dim=student_dim,
            teacher_dim=teacher_dim,
        )
        self.hidden_dim = hidden_dim
        self.critic_dim = critic_dim
        self.critic: SeparableCritic | None = None
        if student_dim is not None and teacher_dim is not None:
            self.bind(student_dim, teacher_dim)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.critic is None:
            widths = width(student), width(teacher)
            self.critic = SeparableCritic(*widths, self.hidden_dim, self.critic_dim)
        return self

    def scores(
        self, student: Outputs, teacher: Outputs, valid: Bool[Tensor, " b"] | None
    ) -> Float[Tensor, "b b"]:
        """The critic's score of every student row with every teacher row."""
        if self.critic is None:
            raise ValueError(
                f"{self.label} has no critic yet; call loss.bind(student, teacher), or give "
                "student_dim and teacher_dim"
            )
        keep = row_mask(valid, student.embedding)
        return self.critic(zero_rows(student.embedding, keep), zero_rows(teacher.embedding, keep))
