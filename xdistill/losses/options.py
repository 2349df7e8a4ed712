"""Checks of a loss's options, for its constructor."""

from __future__ import annotations

import math


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
