"""What each kind of signal looks like as a tensor, and a check with readable errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xdistill.registry import modalities, register_modality


@dataclass(frozen=True)
class Plausible:
    """How large the values of a modality usually are, and other units in which they come.

    The range is wide on purpose: signals that were standardised lie in it as well.

    Attributes:
        low: least size of a typical row.
        high: greatest size of a typical row.
        size: what the size of a row [c, ...] is: "peak", its largest absolute value; or "level",
            the largest absolute median of a channel, which a constant offset such as gravity
            shows and a short movement does not.
        others: units that values are often given in by mistake, each with the factor that
            brings them to the modality's own.
    """

    low: float
    high: float
    size: Literal["peak", "level"] = "peak"
    others: tuple[tuple[str, float], ...] = ()

    def size_of(self, row: Tensor) -> float:
        """The size of a row without its batch axis."""
        if self.size == "peak" or row.ndim < 2:
            return float(row.abs().max())
        return float(row.flatten(1).median(dim=1).values.abs().max())

    def advice(self, size: float, unit: str) -> str | None:
        """What is wrong with values of that size, None where nothing seems to be."""
        if self.low <= size <= self.high:
            return None
        for other, factor in self.others:
            if self.low <= size * factor <= self.high:
                times = f"multiply by {factor:g}" if factor >= 1 else f"divide by {1 / factor:g}"
                return f"values look like {other}, expected {unit}: {times}"
        return (
            f"values have a size of {size:.3g}, expected {self.low:g} to {self.high:g} ({unit}): "
            "check their unit"
        )


@dataclass(frozen=True)
class Modality:
    """One kind of signal.

    Attributes:
        name: the name used by encoders, batches and messages.
        axes: letters of the axes of a batch, "b c t h w"; "c" is always the channel axis.
        unit: what a value measures ("µV", "m").
        sampling_unit: what one step along the last sampled axis is ("s", "px").
        plausible: how large values usually are; None where any scale is right.
    """

    name: str
    axes: str
    unit: str
    sampling_unit: str
    plausible: Plausible | None = None

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


# Lower bounds leave room for dark rooms and quiet sound, upper ones for standardised values.
_intensity = Plausible(1e-3, 20.0, others=(("0 to 255", 1 / 255), ("0 to 65535", 1 / 65535)))
_metres = Plausible(1e-3, 100.0, others=(("mm", 1e-3),))

video = register_modality(Modality("video", "b c t h w", "intensity, 0 to 1", "s", _intensity))
depth = register_modality(Modality("depth", "b c t h w", "m", "s", _metres))
depth_image = register_modality(Modality("depth_image", "b c h w", "m", "px", _metres))
image = register_modality(Modality("image", "b c h w", "intensity, 0 to 1", "px", _intensity))
eeg = register_modality(
    Modality(
        "eeg",
        "b c t",
        "µV",
        "s",
        Plausible(0.6, 2e4, others=(("V", 1e6), ("mV", 1e3), ("nV", 1e-3))),
    )
)
spectrogram = register_modality(Modality("spectrogram", "b c h w", "power, any scale", "px"))
audio = register_modality(
    Modality(
        "audio",
        "b c t",
        "amplitude, -1 to 1",
        "s",
        Plausible(1e-5, 50.0, others=(("16-bit integers", 1 / 32768),)),
    )
)
inertial = register_modality(
    Modality(
        "inertial",
        "b c t",
        "g and degree/s",
        "s",
        Plausible(0.0, 300.0, "level", others=(("milli-g", 1e-3),)),
    )
)
body = register_modality(Modality("body", "b c t", "any: breathing and movement", "s"))
video_body = register_modality(
    Modality("video_body", "b c n", "clip and body's signals, each in its own", "value")
)
skeleton = register_modality(
    Modality("skeleton", "b c t j", "m", "s", Plausible(1e-3, 50.0, others=(("mm", 1e-3),)))
)
tabular = register_modality(Modality("tabular", "b c", "any", "feature"))
