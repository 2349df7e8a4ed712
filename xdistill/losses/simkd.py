"""Distillation with the reused teacher classifier."""

from __future__ import annotations

from torch import nn

from xdistill.losses.fitnet import fitnet
from xdistill.losses.parts.adapted import adapted
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.options import require_counts
from xdistill.registry import create_projector, register_loss

ADVICE = (
    "train xd.reuse_classifier(student, teacher), or call loss.bind(student, "
    "teacher), which makes an adapter"
)


@register_loss("simkd")
class SimKD(Loss):
    """The student's adapted features regress the teacher's, and the teacher's classifier is reused.

    Chen et al., CVPR 2022: mean of (A(f_s) − f_t)², the only term. No label and no cross-entropy is
    involved, and the student's own classifier would never be trained. Therefore train
    `xd.reuse_classifier(student, teacher)`, an encoder with the adapter A and the teacher's frozen
    classifier inside:

        student = xd.reuse_classifier(student, teacher)
        xd.fit(xd.Distiller(student, teacher, xd.SimKD()), train, val)

    Its embedding is A(f_s), of the teacher's width, so that no adapter is made here. For a student
    that is not wrapped so, and has another width, the loss makes an adapter in `bind`, as `FitNet`
    makes a linear one. The paper adapts the last feature map by convolutions with BatchNorm and
    then pools; here pooled embeddings are adapted, since maps of two modalities share no grid.

    Args:
        adapter: a registered projector from the student's width to the teacher's.
        student_dim: width of the student's embedding; with `teacher_dim` it replaces `bind`.
        teacher_dim: width of the teacher's embedding.
    """

    name = "simkd"
    formula = "mean of (A(f_s) − f_t)², then the teacher's classifier"
    paper = "Chen et al., CVPR 2022"
    shared_space = False
    per_position = True

    def __init__(
        self, adapter: str = "mlp", student_dim: int | None = None, teacher_dim: int | None = None
    ):
        super().__init__()
        require_counts(self.name, student_dim=student_dim, teacher_dim=teacher_dim)
        self.adapter_name = adapter
        self.adapter: nn.Module | None = None
        if student_dim is not None and teacher_dim is not None:
            self.bind(student_dim, teacher_dim)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        ours, theirs = width(student), width(teacher)
        if self.adapter is None and ours != theirs:
            self.adapter = create_projector(self.adapter_name, ours, theirs)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        ours = adapted(self.name, self.adapter, student, teacher, ADVICE)
        return fitnet(ours, teacher.embedding, valid)
