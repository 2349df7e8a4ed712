"""CLIP-KD's relational terms: similarities within the batch, compared as distributions."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from xdistill import kernels
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.masking import given_mask, row_mask, zero_rows
from xdistill.losses.parts.options import require_counts, require_positive
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.registry import register_loss


def clip_self(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.07,
    teacher_temperature: float | None = None,
) -> Float[Tensor, ""]:
    """Mean over i of KL(softmax_j(cos(t_i, t_j)/τ_t) ‖ softmax_j(cos(s_i, s_j)/τ)), j ≠ i.

    Contrastive relational distillation (CRD) of Yang et al., CLIP-KD, CVPR 2024, whose matrices
    hold the similarities of images and texts, each model's its own. Here each model sees one
    modality, so a matrix holds those of its rows among themselves. It is symmetric, so the paper's
    two directions are one. Its diagonal is left out: it carries no information but would take
    nearly all of the probability. A row without others counts 0. The widths may differ, and the
    teacher is a constant.
    """
    keep = row_mask(valid, student)
    s, t = unit_rows(zero_rows(student, keep)), unit_rows(zero_rows(teacher, keep))
    return kernels.affinity_kl(
        s, t, temperature, teacher_temperature=teacher_temperature, valid=given_mask(valid, s)
    )


def clip_cross(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    relation: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.07,
    teacher_temperature: float | None = None,
) -> Float[Tensor, ""]:
    """Mean over i, and over both directions, of KL(softmax_j(cos(r_i, r_j)/τ_t) ‖ q_i).

    q_i is softmax_j(cos(s_i, t_j)/τ) from student to teacher, softmax_j(cos(t_i, s_j)/τ) back. Yang
    et al., CLIP-KD, CVPR 2024, have it in their code as the cross-KD of student and teacher across
    modalities: interactive contrastive learning (ICL) with the teacher's similarities in place of
    the identity as targets. There the teacher compares its images with its texts, here its rows
    with each other; the diagonal is kept, because its entries are the pairs.

    Args:
        student: rows in the shared space.
        teacher: rows in the shared space.
        relation: the teacher's rows before projection, whose similarities are the target.
    """
    keep = row_mask(valid, student)
    s, t, r = (unit_rows(zero_rows(x, keep)) for x in (student, teacher, relation))
    mask = given_mask(valid, s)
    options = {
        "teacher_temperature": teacher_temperature,
        "teacher_keys": r,
        "valid": mask,
        "key_valid": mask,
    }
    forth = kernels.affinity_kl(s, r, temperature, student_keys=t, **options)
    back = kernels.affinity_kl(t, r, temperature, student_keys=s, **options)
    return 0.5 * (forth + back)


@register_loss("clip_distill")
class CLIPDistill(Loss):
    """The student's similarities among the rows of a batch follow the teacher's.

    Of the losses of CLIP-KD, `form="self"` is the relational one (CRD) for one modality on each
    side, and `form="cross"` the one that its code calls cross-KD. The contrastive one (ICL) is
    `infonce` between student and teacher; the feature one (FD) is `fitnet`, there on unit rows.
    CLIP-KD weighs CRD with 1.

    Args:
        form: "self" compares the student's rows with each other, needs no shared space and takes
            any widths; "cross" compares student rows with teacher rows in a shared space. Its
            target comes from the embeddings before the projector, which could otherwise make all
            rows alike and the loss 0.
        temperature: divides the student's cosines.
        teacher_temperature: divides the teacher's; None takes `temperature`. In the paper each
            model has its own.
        dim: width of the shared space of "cross"; makes projectors in `bind`.
    """

    name = "clip_distill"
    formula = "KL(softmax(cos(f_t, f_t)/τ) ‖ softmax(cos(f_s, f_s)/τ)) off the diagonal"
    paper = "Yang et al., CVPR 2024"
    projects_in_forward = True
    shared_space = False

    def __init__(
        self,
        form: Literal["self", "cross"] = "self",
        temperature: float = 0.07,
        teacher_temperature: float | None = None,
        dim: int | None = None,
    ):
        super().__init__()
        require_counts(self.name, dim=dim)
        if form not in ("self", "cross"):
            raise ValueError(f'clip_distill: form must be "self" or "cross", got {form!r}')
        require_positive(self.name, temperature=temperature)
        if teacher_temperature is not None:
            require_positive(self.name, teacher_temperature=teacher_temperature)
        if form == "self" and dim is not None:
            raise ValueError(
                f'clip_distill: form="self" has no shared space, got dim={dim}; leave dim out or '
                'take form="cross"'
            )
        self.form = form
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.dim = dim
        self.shared_space = form == "cross"

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        raw, options = teacher.embedding, (valid, self.temperature, self.teacher_temperature)
        if self.form == "self":
            return clip_self(student.embedding, raw, *options)
        student, teacher = self.project(student, teacher)
        return clip_cross(student.embedding, teacher.embedding, raw, *options)
