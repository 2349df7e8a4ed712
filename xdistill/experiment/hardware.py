"""What an experiment runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hardware:
    """The options of Lightning's trainer that depend on the machine.

    Attributes:
        accelerator: "cpu", "gpu", "auto", …
        devices: a number, "auto", or a list such as "0,1".
        precision: "32-true", "bf16-mixed" or "16-mixed".
        num_workers: processes that read data.
        verbose: print what is trained, with a progress bar.

    Raises:
        ValueError: devices that Lightning cannot take.
    """

    accelerator: str = "cpu"
    devices: str = "1"
    precision: str = "32-true"
    num_workers: int = 0
    verbose: bool = False

    def __post_init__(self):
        lightning_devices(self.devices)  # a mistake is refused before any training

    def trainer_options(self) -> dict[str, Any]:
        """The options of `lightning.Trainer`."""
        return {
            "accelerator": self.accelerator,
            "devices": lightning_devices(self.devices),
            "precision": self.precision,
            "enable_progress_bar": self.verbose,
        }


def lightning_devices(devices: str) -> str | int | list[int]:
    """The devices as Lightning takes them.

    Raises:
        ValueError: neither a number, nor "auto", nor numbers joined by commas.
    """
    if devices == "auto":
        return devices
    try:
        return [int(one) for one in devices.split(",")] if "," in devices else int(devices)
    except ValueError:
        raise ValueError(
            f'devices is a number, "auto", or a list such as "0,1", got {devices!r}'
        ) from None
