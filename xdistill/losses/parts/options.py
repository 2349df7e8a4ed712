"""Checks of a loss's options, for its constructor and for `bind`."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any


def require_finite(loss: str, **options: float) -> None:
    """Refuse options that are NaN or infinite."""
    for name, value in options.items():
        if not math.isfinite(value):
            raise ValueError(f"{loss}: {name} must be a finite number, got {value}")


def require_share(loss: str, **options: float) -> None:
    """Refuse options that are not numbers from 0 to 1."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{loss}: {name} must be a number from 0 to 1, got {value}")


def require_positive(loss: str, **options: float) -> None:
    """Refuse options that are not finite numbers above 0."""
    for name, value in options.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{loss}: {name} must be a finite number above 0, got {value}")


def require_not_negative(loss: str, **options: float) -> None:
    """Refuse options that are not finite numbers of at least 0."""
    for name, value in options.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{loss}: {name} must be a finite number of at least 0, got {value}")


def require_counts(loss: str, least: int = 1, **options: Any) -> None:
    """Refuse options that are not whole numbers of at least `least`; None is left open."""
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(
                f"{loss}: {name} must be a whole number of at least {least}, got {value!r}"
            )


def require_num_classes(loss: str, purpose: str, own: int | None, bound: int | None) -> int:
    """The number of classes, from the constructor or from `bind`; an error if neither gives it.

    Args:
        loss: its name.
        purpose: what it needs the number for, as in "makes proxy classifiers".
        own: the constructor's.
        bound: that of `bind`.
    """
    classes = bound if own is None else own
    if classes is None:
        raise ValueError(
            f"{loss} {purpose} and needs num_classes, got None; pass it to bind or to the "
            "constructor"
        )
    require_counts(loss, num_classes=classes)
    return classes
