"""A table of all registered losses, plugins' included, from the attributes of their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from xdistill.losses.parts.loss import Loss, Need
from xdistill.registry import losses
from xdistill.types import Spec

EXAMPLE = Spec(8, {"early": (4, 8), "late": (4, 8)})
"""Widths to which a loss is bound to find out whether it has parameters."""


class Entry(NamedTuple):
    """The facts about a loss that help to choose one.

    Attributes:
        name: as registered.
        formula: in one line, or the first line of the class's docstring.
        paper: who proposed it.
        needs: the inputs that it requires.
        uses: the inputs that it uses if they are given.
        mutual: the teacher gets gradient too.
        parameters: it learns parameters of its own between encoders of equal width; None if it
            cannot be created without options.
        weight: recommended beside a cross-entropy of 1.
        warmup_epochs: over which that weight should grow from 0.
    """

    name: str
    formula: str
    paper: str
    needs: tuple[Need, ...]
    uses: tuple[Need, ...]
    mutual: bool
    parameters: bool | None
    weight: float
    warmup_epochs: int


def entry(name: str) -> Entry:
    """The facts about one loss.

    Raises:
        ValueError: unknown name.
        ImportError: the plugin behind it is broken.
    """
    kind: type[Loss] = losses.get(name)
    return Entry(
        name,
        kind.formula or (kind.__doc__ or "").strip().partition("\n")[0],
        kind.paper,
        kind.needs,
        kind.uses,
        kind.mutual,
        _has_parameters(kind),
        kind.recommended_weight,
        kind.recommended_warmup_epochs,
    )


def entries() -> Iterator[Entry]:
    """The facts about every loss that loads, in alphabetical order; `losses.broken()` has the rest.

    Plugins' objects that are not subclasses of Loss are left out.
    """
    for name in losses.list():
        try:
            kind = losses.get(name)
        except (ImportError, ValueError):
            continue
        if isinstance(kind, type) and issubclass(kind, Loss):
            yield entry(name)


def _has_parameters(kind: Callable[[], Loss]) -> bool | None:
    try:
        loss = kind().bind(EXAMPLE, EXAMPLE, num_classes=3, num_samples=9)
    except Exception:  # a plugin's loss may require options that are unknown here
        return None
    return any(True for _ in loss.parameters())


COLUMNS = ("name", "needs", "mutual", "parameters", "weight", "paper", "formula")


def cells(one: Entry) -> tuple[str, ...]:
    """An entry as text, in the order of COLUMNS."""
    weight = f"{one.weight:g}"
    if one.warmup_epochs:
        weight += f", {one.warmup_epochs} epochs warm-up"
    return (
        one.name,
        ", ".join([*one.needs, *(f"({part})" for part in one.uses)]),
        "yes" if one.mutual else "",
        {True: "yes", False: "", None: "?"}[one.parameters],
        weight,
        one.paper,
        one.formula,
    )


def text_table(rows: Iterable[Entry]) -> str:
    """For a terminal: columns of equal width, the formula last."""
    lines = [COLUMNS, *map(cells, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    texts = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    texts.insert(1, "─" * len(texts[0].rstrip()))
    return "\n".join(text.rstrip() for text in texts) + "\n"


def markdown_table(rows: Iterable[Entry]) -> str:
    """For a page of documentation."""
    lines = [("loss", *COLUMNS[1:]), ("---",) * len(COLUMNS)]
    for one in rows:
        name, *rest = (cell.replace("|", "\\|") for cell in cells(one))
        lines.append((f"[`{name}`](#{name})", *rest))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
