"""The data sets that xdistill can read, and whether their files are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from xdistill.data.cards import DatasetCard
from xdistill.registry import datasets


class Listed(NamedTuple):
    """One data set.

    Attributes:
        name: as registered.
        card: its card; None if it has none.
        place: the folder in which its files were found; None if they were not.
        broken: why its adapter cannot be loaded; None if it can.
    """

    name: str
    card: DatasetCard | None
    place: Path | None
    broken: str | None = None

    @property
    def generated(self) -> bool:
        """Whether the data are computed and need no files."""
        return self.card is not None and not self.card.files


def listed_datasets(data_root: Path) -> Iterator[Listed]:
    """Every registered data set, those of plugins too, in alphabetical order.

    Args:
        data_root: folder of all data. A data set is searched for in the folder of its name, then in
            the other folders there, and last in this folder itself.
    """
    for name in datasets.list():
        try:
            card = getattr(datasets.get(name), "card", None)
        except (ImportError, ValueError) as error:
            yield Listed(name, None, None, str(error))
            continue
        yield Listed(name, card, None if card is None else find_data(card, data_root))


def find_data(card: DatasetCard, data_root: Path) -> Path | None:
    """The first folder that has all files of a card; None if none has."""
    if not card.files:
        return None
    inside = sorted(data_root.iterdir()) if data_root.is_dir() else []
    for folder in (data_root / card.name, *inside, data_root):
        if folder.is_dir() and all(_any(folder, pattern) for pattern in card.files):
            return folder
    return None


def _any(folder: Path, pattern: str) -> bool:
    return next(folder.glob(pattern), None) is not None
