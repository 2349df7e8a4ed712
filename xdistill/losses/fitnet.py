"""FitNets: regress the teacher's features from the student's."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.parts.adapted import adapted
from xdistill.losses.parts.layers import Layers, channel_counts, hidden_maps
from xdistill.losses.parts.loss import Loss, Need, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.normalise import Normalise, normalised, require_kind
from xdistill.losses.parts.options import require_counts
from xdistill.losses.parts.shared_axes import ChannelAdapter, align
from xdistill.numerics import masked_mean
from xdistill.registry import create_projector, register_loss
from xdistill.types import Outputs

ADVICE = (
    "call loss.bind(student, teacher) or give student_dim and teacher_dim, so that it "
    "makes an adapter"
)


def fitnet(
    student: Float[Tensor, "b ..."],
    teacher: Float[Tensor, "b ..."],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over rows and features of (f_s − f_t)², for embeddings or aligned maps.

    Romero et al., FitNets, 2015, eq. 3, there half the squared norm; across modalities this is
    supervision transfer (Gupta et al., CVPR 2016).
    """
    keep = row_mask(valid, student)
    gap = zero_rows(student, keep) - zero_rows(teacher, keep)
    return masked_mean(gap.square().flatten(1).mean(dim=1), keep)


@register_loss("fitnet")
class FitNet(Loss):
    """Squared distance of the student's adapted features to the teacher's.

    It compares the embeddings. Without a call of `bind`, and without both widths given here, there
    is no adapter and they are compared as they are.

    Where `layers` names hidden layers it compares those instead: each pair is brought onto the axes
    that it shares, the student's channels are mapped linearly (made in `bind`), and the value is
    the sum over pairs. The paper's regressor is a convolution, which needs maps of equal rank.

    Args:
        adapter: a registered projector from the student's width to the teacher's; "identity" needs
            equal widths.
        student_dim: width of the student's embedding.
        teacher_dim: width of the teacher's embedding.
        layers: pairs of hidden layers, or None for the embeddings.
        normalise: what is done to the teacher's embeddings first: "none", "layer", "standardise" or
            "whiten" (`parts.normalise.normalised`). With adapter="orthogonal" it is VkD (Miles et
            al., CVPR 2024), which standardises or layer-normalises to classify and whitens to
            generate; its public code for ImageNet takes "layer" and a smooth L1 distance.

    Raises:
        ValueError: `layers` together with an option of embeddings.
    """

    name = "fitnet"
    formula = "mean of (A(f_s) − f_t)²"
    paper = "Romero et al., ICLR 2015; Gupta et al., CVPR 2016"
    uses = ("hidden",)
    shared_space = False
    per_position = True
    recommended_weight = 100.0

    def __init__(
        self,
        adapter: str = "linear",
        student_dim: int | None = None,
        teacher_dim: int | None = None,
        layers: Layers | None = None,
        normalise: Normalise = "none",
    ):
        super().__init__()
        require_counts(self.name, student_dim=student_dim, teacher_dim=teacher_dim)
        require_kind(self.name, normalise)
        if layers is not None and normalise != "none":
            raise ValueError(
                "fitnet normalises embeddings, but got layers together with "
                f"normalise={normalise!r}; leave one of them out"
            )
        if layers is not None and (adapter, student_dim, teacher_dim) != ("linear", None, None):
            raise ValueError(
                "fitnet maps the channels of hidden layers linearly, but got layers together with "
                f"adapter={adapter!r}, student_dim={student_dim} and teacher_dim={teacher_dim}; "
                "leave those out and call loss.bind(student, teacher)"
            )
        self.layers = layers
        self.normalise: Normalise = normalise
        self.adapter_name = adapter
        self.adapter: nn.Module | None = None
        self.channel_adapters: nn.ModuleList | None = None
        if student_dim is not None and teacher_dim is not None:
            self.adapter = create_projector(adapter, student_dim, teacher_dim)

    @property
    def inputs(self) -> tuple[Need, ...]:
        return ("embedding",) if self.layers is None else ("hidden",)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.layers is not None:
            if self.channel_adapters is None:
                channels = channel_counts("fitnet", self.layers, student, teacher)
                self.channel_adapters = nn.ModuleList(
                    ChannelAdapter(ours, theirs, bias=True) for ours, theirs in channels
                )
        elif self.adapter is None:
            self.adapter = create_projector(self.adapter_name, width(student), width(teacher))
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        if self.layers is not None:
            return self._hidden(student, teacher, valid)
        ours = adapted(self.name, self.adapter, student, teacher, ADVICE)
        keep = row_mask(valid, teacher.embedding)
        return fitnet(ours, normalised(teacher.embedding, keep, self.normalise), valid)

    def _hidden(
        self, student: Outputs, teacher: Outputs, valid: Bool[Tensor, " b"] | None
    ) -> Float[Tensor, ""]:
        """The sum over pairs of layers."""
        maps = hidden_maps("fitnet", self.layers, student, teacher)
        if self.channel_adapters is None:
            raise ValueError("fitnet has no channel adapters yet; call loss.bind(student, teacher)")
        value = student.embedding.new_zeros(())
        for adapter, pair in zip(self.channel_adapters, maps, strict=True):
            ours, theirs = align("fitnet", *pair)
            value = value + fitnet(adapter(ours), theirs, valid)
        return value
