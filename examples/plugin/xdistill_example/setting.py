"""Who teaches whom on the simulated breathing, and for how long."""

from __future__ import annotations

from pathlib import Path

from xdistill import Splits
from xdistill.experiment import Setting
from xdistill_example.dataset import breathing as breathing_data


def load(data_root: Path, split: int) -> Splits:
    """Other subjects are tested with every split; nothing is read from `data_root`."""
    return breathing_data(seed=split)


breathing = Setting(
    load,
    teachers={"tabular": "mlp"},
    student="radar",
    encoder="radar_small",
    epochs=5,
    teacher_epochs=5,
    batch_size=32,
)
