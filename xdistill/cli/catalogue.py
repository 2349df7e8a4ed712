"""A table of all registered losses, plugins' included, made from what their classes say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from xdistill.losses.parts.loss import Loss, Need
from xdistill.registry import losses
from xdistill.types import Spec

EXAMPLE = Spec(8, {"early": (4, 8), "late": (4, 8)})
"""Widths to bind a loss to, to see whether it has parameters."""


class Entry(NamedTuple):
    """What there is to know of a loss before one takes it.

    Attributes:
        name: as registered.
        formula: in one line, or what the class's docstring begins with.
        paper: who proposed it.
        needs: what it cannot do without.
        uses: what it makes use of where it is there.
        mutual: the teacher gets gradient too.
        parameters: it learns parameters of its own between encoders of equal width; None where it
            cannot be told without options.
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
    """The facts about every loss that works, in alphabetical order; `losses.broken()` has the rest.

    What a plugin provides that is no subclass of Loss is left out.
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
    except Exception:  # a plugin's loss may want options that only its author knows
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
