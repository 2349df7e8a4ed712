"""The facts about a data set: what it is, who owns it, and where to get it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetCard:
    """The facts about a data set that a listing shows.

    Attributes:
        name: the adapter is registered under it.
        pairs: (teacher, student) modalities, as the adapter's columns are called.
        classes: number of classes.
        size: rows, subjects, hours, in words.
        licence: of the data, not of this package.
        citation: what to cite.
        source_url: where the owner distributes it.
        files: glob patterns below the root that each match a file when the data are there; none for
            generated data.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    classes: int
    size: str
    licence: str
    citation: str
    source_url: str
    files: tuple[str, ...]
