"""How large the rows of a modality are: whether they are in its unit, and not zero throughout."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from torch import Tensor

from xdistill.modalities import get_modality
from xdistill.registry import list_modalities

if TYPE_CHECKING:
    from xdistill.data.paired import PairedDataset


class SizeCheck:
    """Collects the sizes of rows, and says once for each modality what is odd about them.

    Args:
        name: what messages call the dataset.
    """

    def __init__(self, name: str):
        self.name = name
        self.sizes: dict[str, list[float]] = {}
        self.zero: dict[str, list[int]] = {}
        self.known = set(list_modalities())

    def add(self, modality: str, row: int, sample: Tensor) -> None:
        """A finite row."""
        if not bool(sample.any()):
            self.zero.setdefault(modality, []).append(row)
            return
        plausible = get_modality(modality).plausible if modality in self.known else None
        if plausible is not None:
            self.sizes.setdefault(modality, []).append(plausible.size_of(sample))

    def messages(self, dataset: PairedDataset) -> list[str]:
        """What to tell the user; empty where nothing is odd."""
        told = []
        for modality, rows in self.zero.items():
            told.append(
                f"{self.name}: {len(rows)} of {len(dataset)} rows (first: {dataset.ids[rows[0]]}) "
                f"are zero throughout in {modality}; mark them in valid if it was not recorded"
            )
        for modality, sizes in self.sizes.items():
            kind = get_modality(modality)
            assert kind.plausible is not None  # add() has seen to it
            advice = kind.plausible.advice(median(sizes), kind.unit)
            if advice is not None:
                told.append(f"{self.name}: {modality} {advice}")
        return told
