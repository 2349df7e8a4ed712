"""What each kind of signal looks like as a tensor, and a check with readable errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xdistill.registry import modalities, register_modality


@dataclass(frozen=True)
class Modality:
    """One kind of signal.

    Attributes:
        name: the name used by encoders, batches and messages.
        axes: letters of the axes of a batch, "b c t h w"; "c" is always the channel axis.
        unit: what a value measures ("µV", "m").
        sampling_unit: what one step along the last sampled axis is ("s", "px").
    """

    name: str
    axes: str
    unit: str
    sampling_unit: str

    def check(self, x: Tensor, *, channels: int | None = None, finite: bool = True) -> None:
        """Refuse a batch that an encoder of this modality cannot take.

        Args:
            x: a batch with the axes of this modality.
            channels: number of channels that the encoder expects.
            finite: also check every value for NaN and infinity (on an accelerator this waits for
                the device).

        Raises:
            TypeError: not a floating-point tensor.
            ValueError: wrong rank, empty batch, wrong number of channels, NaN or infinity.
        """
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{self.name}: expected a torch.Tensor with axes [{self.axes}], got "
                f"{type(x).__name__}; convert it with torch.as_tensor"
            )
        names = self.axes.split()
        if x.ndim != len(names):
            raise ValueError(
                f"{self.name}: expected {len(names)} axes [{self.axes}], got {x.ndim} "
                f"(shape {tuple(x.shape)}); {_rank_advice(x.ndim, names)}"
            )
        if not x.is_floating_point():
            raise TypeError(
                f"{self.name}: expected a floating-point tensor in {self.unit}, got {x.dtype}; "
                "convert it with .float() and scale it"
            )
        if x.numel() == 0:
            raise ValueError(
                f"{self.name}: the batch is empty (shape {tuple(x.shape)} for [{self.axes}])"
            )
        if channels is not None and "c" in names and x.shape[names.index("c")] != channels:
            raise ValueError(
                f"{self.name}: expected {channels} channel(s) on axis {names.index('c')} of "
                f"[{self.axes}], got {x.shape[names.index('c')]} (shape {tuple(x.shape)}); create "
                "the encoder with the channel count of the data"
            )
        if finite:
            self.check_finite(x)

    def check_finite(self, x: Tensor) -> None:
        """Refuse NaN and infinity, naming the rows that hold them."""
        bad = ~torch.isfinite(x.detach()).flatten(1).all(dim=1)
        if bool(bad.any()):
            rows = bad.nonzero().flatten().tolist()
            raise ValueError(
                f"{self.name}: NaN or infinity in {len(rows)} of {len(x)} rows (first: row "
                f"{rows[0]}); clean those samples or mark them in `valid`"
            )


def _rank_advice(rank: int, names: list[str]) -> str:
    missing = len(names) - rank
    if missing == 1 and len(names) > 2:
        return "add the batch axis with x[None] or the channel axis with x[:, None]"
    return "reshape it to those axes"


def get_modality(name: str) -> Modality:
    """The registered modality of that name.

    Raises:
        ValueError: unknown name; the message lists similar ones.
    """
    return modalities.get(name)


video = register_modality(Modality("video", "b c t h w", "intensity, 0 to 1", "s"))
depth = register_modality(Modality("depth", "b c t h w", "m", "s"))
depth_image = register_modality(Modality("depth_image", "b c h w", "m", "px"))
image = register_modality(Modality("image", "b c h w", "intensity, 0 to 1", "px"))
eeg = register_modality(Modality("eeg", "b c t", "µV", "s"))
spectrogram = register_modality(Modality("spectrogram", "b c h w", "power, any scale", "px"))
audio = register_modality(Modality("audio", "b c t", "amplitude, -1 to 1", "s"))
inertial = register_modality(Modality("inertial", "b c t", "g and degree/s", "s"))
skeleton = register_modality(Modality("skeleton", "b c t j", "m", "s"))
tabular = register_modality(Modality("tabular", "b c", "any", "feature"))
