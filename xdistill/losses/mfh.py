"""Modality-focused distillation: teach only the teacher's modality-general channels."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.losses.kd import kd
from xdistill.losses.parts.adapted import adapted
from xdistill.losses.parts.checks import require_logits
from xdistill.losses.parts.loss import Loss, width
from xdistill.losses.parts.masking import row_mask, zero_rows
from xdistill.losses.parts.options import require_positive
from xdistill.numerics import masked_mean
from xdistill.registry import create_projector, register_loss

ADVICE = (
    "call loss.bind(student, teacher), which makes an adapter, or give the teacher's classifier"
)


def salient_channels(salience: Float[Tensor, " d"], share_off: float) -> Bool[Tensor, " d"]:
    """True for the channels that stay when the least salient share is switched off.

    share_off·D channels, rounded down, are switched off; at least one stays. Among equal channels
    the first ones stay.
    """
    dim = len(salience)
    stay = max(dim - int(share_off * dim), 1)
    order = salience.argsort(descending=True, stable=True)
    return torch.zeros(dim, dtype=torch.bool, device=salience.device).index_fill(
        0, order[:stay], True
    )


def mfh_embedding(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b d"],
    channels: Bool[Tensor, " d"],
    valid: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of (s − t)² over rows and over the channels that are switched on."""
    keep = row_mask(valid, student)
    gap = (zero_rows(student, keep) - zero_rows(teacher, keep)).square()
    on = torch.where(channels, gap, torch.zeros_like(gap)).sum(dim=1) / channels.sum().clamp(min=1)
    return masked_mean(on, keep)


def frozen(classifier: nn.Module) -> nn.Module:
    """A copy in evaluation mode that is not trained; half precision becomes float32."""
    kept = copy.deepcopy(classifier).requires_grad_(False).eval()
    half = any(one.dtype in (torch.float16, torch.bfloat16) for one in kept.parameters())
    return kept.float() if half else kept


@register_loss("mfh")
class MFH(Loss):
    """Distil only those channels of the teacher whose information both modalities share.

    Xue et al., "The Modality Focusing Hypothesis", ICLR 2023: features that are decisive and
    general help a student of another modality; features specific to the teacher's modality do not,
    however much they help the teacher. Rank the channels once with `permutation_salience`, pass the
    ranking to `set_salience`, then train. Before that every channel is on.

    With the teacher's `classifier` this is the paper's distillation: the embedding, its other
    channels switched off, goes through a frozen copy of the classifier, and KD teaches the student
    these logits; the paper trains by it alone. (One of its published programs averages KL over rows
    times classes, and its experiments on inputs train a new teacher on the channels left.) Without
    a classifier the student's adapted embedding regresses the channels that are on: our own
    variant, for teachers without one.

    Args:
        classifier: the teacher's last layer, from its embedding to its logits.
        share_off: share of channels that `set_salience` switches off.
        temperature: divides the logits.
        adapter: a registered projector for the student's embedding, made in `bind`; needed only
            without a classifier.
    """

    name = "mfh"
    formula = "T²·KL(softmax(h(m⊙f_t)/T) ‖ softmax(z_s/T)); without h: mean of m⊙(A(f_s) − f_t)²"
    paper = "Xue et al., ICLR 2023"
    uses = ("logits",)
    shared_space = False
    channels: Tensor | None
    off_value: Tensor | None

    def __init__(
        self,
        classifier: nn.Module | None = None,
        share_off: float = 0.75,
        temperature: float = 1.0,
        adapter: str = "linear",
    ):
        super().__init__()
        if not 0 <= share_off < 1:
            raise ValueError(
                "mfh: share_off is the share of channels to switch off, from 0 to below 1, got "
                f"{share_off}"
            )
        self.share_off = share_off
        require_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.adapter_name = adapter
        self.adapter: nn.Module | None = None
        self.classifier: nn.Module | None = None
        if classifier is not None:
            self.classifier = frozen(classifier)
        self.register_buffer("channels", None)
        self.register_buffer("off_value", None)

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        if self.channels is None:
            self._put(torch.ones(width(teacher), dtype=torch.bool), torch.zeros(width(teacher)))
        if self.classifier is None and self.adapter is None:
            self.adapter = create_projector(self.adapter_name, width(student), width(teacher))
        return self

    def set_salience(
        self, salience: Float[Tensor, " d"], off_value: Float[Tensor, " d"] | None = None
    ) -> MFH:
        """Switch off the least salient channels from now on.

        Args:
            salience: [D], larger for channels to keep.
            off_value: [D] value of a channel that is off; 0 when None. The channels' means over the
                training data leave the classifier's average prediction unchanged.

        Raises:
            ValueError: not one number for each channel of the teacher.
        """
        dim = len(salience) if self.channels is None else len(self.channels)
        values = torch.zeros_like(salience) if off_value is None else off_value
        if salience.shape != (dim,) or values.shape != (dim,):
            raise ValueError(
                f"mfh needs one salience and one off_value for each of {dim} channels of the "
                f"teacher's embedding, got {list(salience.shape)} and {list(values.shape)}"
            )
        self._put(salient_channels(salience.detach(), self.share_off), values.detach())
        return self

    def _put(self, channels: Tensor, off_value: Tensor) -> None:
        device = channels.device if self.channels is None else self.channels.device
        self.channels, self.off_value = channels.to(device), off_value.to(device)

    def train(self, mode: bool = True) -> MFH:
        """The teacher's classifier stays in evaluation mode."""
        super().train(mode)
        if self.classifier is not None:
            self.classifier.eval()
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        theirs = teacher.embedding
        channels, off_value = self._mask_for(theirs)
        if self.classifier is not None:
            masked = torch.where(channels, theirs, off_value.to(theirs.dtype))
            focused = replace(teacher, logits=self.classifier(masked))
            require_logits(self.name, student, focused)
            return kd(student.logits, focused.logits, valid, self.temperature)
        ours = adapted(self.name, self.adapter, student, teacher, ADVICE)
        return mfh_embedding(ours, theirs, channels, valid)

    def _mask_for(self, teacher: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
        dim = teacher.shape[1]
        if self.channels is None or self.off_value is None:
            return teacher.new_ones(dim, dtype=torch.bool), teacher.new_zeros(dim)
        if len(self.channels) != dim:
            raise ValueError(
                f"mfh has a mask of {len(self.channels)} channels, the teacher's embedding has "
                f"{dim}; call set_salience with one number for each"
            )
        return self.channels, self.off_value
