"""How a film becomes what a student sees: what a saved student carries with it."""

from __future__ import annotations

from dataclasses import dataclass

from xdistill.data.sleep_stages import EPOCH_S


@dataclass(frozen=True)
class VideoOptions:
    """How 30 s of a film become a clip and the body's signals.

    Raises:
        ValueError: numbers that no film can be read with.
    """

    frames: int = 30
    """Frames of a clip, spread evenly over the epoch: one a second resolves breathing."""
    size: int = 48
    """Side of a clip's frame in pixels: the region is scaled to a square."""
    region: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the bed as shares of the upright picture, 0 to 1; the whole
    picture when left out."""
    body_rate_hz: int = 10
    """Samples a second of the body's signals; the film is looked at as often, where it has as many
    frames."""
    body_size: int = 96
    """Side in pixels of the square in which the body's signals are looked for."""
    grid: int = 4
    """Blocks along each side of that square, each with an activity of its own."""

    def __post_init__(self) -> None:
        limits = {
            "frames": (1, EPOCH_S * self.body_rate_hz),
            "size": (8, 1024),
            "body_rate_hz": (2, 60),
            "body_size": (2 * self.grid, 1024),
            "grid": (1, 16),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {value}")
        if self.region is not None:
            left, top, right, bottom = self.region
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError(
                    "region is left, top, right, bottom as shares of the picture, 0 <= left < "
                    f"right <= 1 and 0 <= top < bottom <= 1, got {self.region}"
                )

    @property
    def body_samples(self) -> int:
        """Samples of the body's signals in an epoch."""
        return EPOCH_S * self.body_rate_hz

    @property
    def body_channels(self) -> tuple[str, ...]:
        """Names of the body's signals: breathing, activity of the whole picture and of blocks."""
        blocks = (f"activity_{row}_{column}" for row, column in _cells(self.grid))
        return ("breathing", "activity", *blocks)


def _cells(side: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(side) for column in range(side)]
