"""The command `xdistill`: what is installed, which plugins are broken, and a table of losses."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from xdistill import registry
from xdistill.losses.catalogue import entries, markdown_table, text_table

KINDS: dict[str, registry.Registry[Any]] = {
    "modalities": registry.modalities,
    "encoders": registry.encoders,
    "projectors": registry.projectors,
    "losses": registry.losses,
    "datasets": registry.datasets,
}


class Row(NamedTuple):
    """One name of a listing."""

    name: str
    provider: str
    broken: str | None

    def __str__(self) -> str:
        note = "" if self.broken is None else f"  broken: {self.broken}"
        return f"  {self.name:<24} {self.provider}{note}"


def rows(entries: registry.Registry[Any]) -> Iterator[Row]:
    """Every name of a registry, who provides it, and why it cannot be used, if it cannot."""
    for name in entries.list():
        with suppress(ImportError, ValueError):  # the registry keeps the reason
            entries.get(name)
        yield Row(name, entries.provider(name), entries.broken().get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. The exit status is 1 where a listed name is broken."""
    parser = argparse.ArgumentParser(prog="xdistill", description="Cross-modal distillation.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser(
        "list", help="names, ours and those of plugins, with the package that provides each"
    )
    listing.add_argument("kind", nargs="?", choices=list(KINDS), help="all kinds when left out")
    table = commands.add_parser(
        "losses", help="every loss: formula, paper, what it needs, recommended weight"
    )
    table.add_argument("--markdown", action="store_true", help="as the table of docs/losses.md")
    options = parser.parse_args(arguments)
    if options.command == "losses":
        return print_losses(options.markdown)
    return print_names([options.kind] if options.kind else list(KINDS))


def print_names(kinds: Sequence[str]) -> int:
    """The names of each kind. 1 where one is broken, else 0."""
    broken = False
    for kind in kinds:
        print(kind)
        for row in rows(KINDS[kind]):
            print(row)
            broken = broken or row.broken is not None
        for prefix in KINDS[kind].prefixes():
            print(f"  {prefix + '/…':<24} every model of {prefix}")
    return int(broken)


def print_losses(markdown: bool) -> int:
    """The table of losses, and below it what is broken. 1 where something is, else 0."""
    table = markdown_table if markdown else text_table
    print(table(entries()), end="")
    broken = registry.losses.broken()
    for name, reason in broken.items():
        print(f"{name}  broken: {reason}")
    return int(bool(broken))
