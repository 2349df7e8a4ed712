"""What a data set is, whose it is, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetCard:
    """The facts about a data set that a listing shows.

    Attributes:
        name: under which the adapter is registered.
        pairs: modalities as (teacher, student), by the names of the adapter's columns.
        classes: number of classes.
        size: rows, subjects, hours, in words.
        licence: of the data, not of this package.
        citation: whom to cite.
        source_url: where the owner distributes it.
        files: paths below the root, with ``*``, that are there when the data are.
    """

    name: str
    pairs: tuple[tuple[str, str], ...]
    classes: int
    size: str
    licence: str
    citation: str
    source_url: str
    files: tuple[str, ...]
