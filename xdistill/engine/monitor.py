"""Which metric chooses the student, and whether it should be high or low."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from xdistill.registry import list_losses

DEFAULT = "val/macro_f1"

Mode = Literal["max", "min"]


class Monitor(NamedTuple):
    """The metric that chooses the student.

    Attributes:
        name: as it is logged; None keeps the last epoch.
        mode: whether the highest or the lowest value is the best.
    """

    name: str | None
    mode: Mode

    @property
    def validated(self) -> bool:
        """Whether validation measures it, not training."""
        return self.name is not None and self.name.startswith("val/")

    def better(self, value: float, best: float) -> bool:
        """Whether a value is better than the best so far, which is NaN at first."""
        if math.isnan(best):
            return True
        return value > best if self.mode == "max" else value < best


def chosen_monitor(name: str | None, mode: Mode | None, validation: bool) -> Monitor:
    """What to go by, given what the user said.

    Args:
        name: a metric; None for macro-F1 on validation, or nothing without validation.
        mode: None for "min" of a loss, a term or an error, and "max" of any other metric.
        validation: whether there is a validation loader.

    Raises:
        ValueError: an unknown mode, or a metric of validation without any.
    """
    if mode not in (None, "max", "min"):
        raise ValueError(f"mode must be 'max' or 'min', got {mode!r}")
    if name is None:
        return Monitor(DEFAULT if validation else None, mode or "max")
    if name.startswith("val/") and not validation:
        raise ValueError(
            f"monitor={name!r} is measured on validation, but there is no val_loader; pass one, or "
            "monitor a training term such as 'train/loss'"
        )
    return Monitor(name, mode or ("min" if name.startswith("train/") or _is_error(name) else "max"))


def _is_error(name: str) -> bool:
    """Whether a metric of validation is a loss, one of its terms or an error."""
    measured = name.removeprefix("val/").partition("/")[0]
    return measured in ("loss", "mae", "mse", *list_losses())
