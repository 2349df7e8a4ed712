"""The command `xdistill`: what is installed, which plugins are broken, losses and data sets."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from xdistill import __version__, registry
from xdistill.cli.catalogue import entries, markdown_table, text_table
from xdistill.cli.deploy import add_export, run_export
from xdistill.cli.diagnose import add_diagnose, run_diagnose
from xdistill.cli.sleep import COMMANDS, run_sleep_command
from xdistill.data.listing import listed_datasets

KINDS: dict[str, registry.Registry[Any]] = {
    "modalities": registry.modalities,
    "encoders": registry.encoders,
    "projectors": registry.projectors,
    "losses": registry.losses,
    "datasets": registry.datasets,
    "settings": registry.settings,
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
    """Every name of a registry with its provider and, if it is broken, the reason."""
    for name in entries.list():
        with suppress(ImportError, ValueError):  # the registry keeps the reason
            entries.get(name)
        yield Row(name, entries.provider(name), entries.broken().get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. The exit status is 1 if a listed name is broken, or on a mistake."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given and given[0] in COMMANDS:
            status = run_sleep_command(given[0], given[1:])
        else:
            status = run(parsed(given))
        sys.stdout.flush()  # while a closed pipe can still be told
        return status
    except BrokenPipeError:  # `xdistill list | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no complaint at exit
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(prog="xdistill", description="Cross-modal distillation.")
    parser.add_argument("--version", action="version", version=f"xdistill {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser(
        "list", help="every registered name, with the package that provides it"
    )
    listing.add_argument("kind", nargs="?", choices=list(KINDS), help="one kind (default: all)")
    listing.add_argument("name", nargs="?", help="one name of that kind: what it is made with")
    table = commands.add_parser(
        "losses", help="every loss: formula, paper, what it needs, recommended weight"
    )
    table.add_argument("--markdown", action="store_true", help="print the table of docs/losses.md")
    data = commands.add_parser(
        "datasets", help="every data set: pairs, classes, size, licence, and whether it is on disk"
    )
    data.add_argument(
        "--data-root",
        type=Path,
        default=Path("data"),
        help="folder that holds a folder for each data set (default: data)",
    )
    add_diagnose(commands)
    for name, text in COMMANDS.items():  # run by `main`
        commands.add_parser(name, help=text, add_help=False)
    add_export(commands)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Do what the command line says."""
    if options.command == "export":
        return run_export(options)
    if options.command == "diagnose":
        return run_diagnose(options)
    if options.command == "datasets":
        return print_datasets(options.data_root)
    if options.command == "losses":
        return print_losses(options.markdown)
    if options.name is not None:
        return print_options(options.kind, options.name)
    return print_names([options.kind] if options.kind else list(KINDS))


def print_names(kinds: Sequence[str]) -> int:
    """The names of each kind. 1 if one is broken, else 0."""
    broken = False
    for kind in kinds:
        print(kind)
        for row in rows(KINDS[kind]):
            print(row)
            broken = broken or row.broken is not None
        for prefix in KINDS[kind].prefixes():
            print(f"  {prefix + '/…':<24} every model of {prefix}")
    return int(broken)


def print_options(kind: str, name: str) -> int:
    """The options with which one registered object is made, and what it says about itself.

    Raises:
        ValueError: unknown name.
        ImportError: the plugin behind it is broken.
    """
    found = KINDS[kind].get(name)
    if not callable(found):
        print(found)
        return 0
    described = found.func if isinstance(found, partial) else found
    print(inspect.getdoc(described) or name)
    print("\noptions:")
    for option in registry.options_of(found):
        print(f"  {option}")
    return 0


def print_losses(markdown: bool) -> int:
    """The table of losses, then the broken ones. 1 if there is one, else 0."""
    table = markdown_table if markdown else text_table
    print(table(entries()), end="")
    broken = registry.losses.broken()
    for name, reason in broken.items():
        print(f"{name}  broken: {reason}")
    return int(bool(broken))


def print_datasets(data_root: Path) -> int:
    """Every data set with the facts of its card. 1 if one is broken, else 0."""
    broken = False
    for name, card, place, reason in (one[:4] for one in listed_datasets(data_root.expanduser())):
        broken = broken or reason is not None
        print(name)
        if reason is not None:
            print(f"  broken: {reason}")
        if card is None:
            continue
        lines = {
            "pairs": pairs_text(card.pairs),
            "classes": card.classes,
            "size": card.size,
            "licence": card.licence,
            "cite": card.citation,
            "source": card.source_url,
            "files": f"found in {place}"
            if place is not None
            else f"not found in {data_root / name}"
            if card.files
            else "none needed, it is generated",
        }
        for key, value in lines.items():
            print(f"  {key:<8} {value}")
    return int(broken)


def pairs_text(pairs: Sequence[tuple[str, str]]) -> str:
    """The pairs as teacher → student, in short where they are all pairs of three or more names."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    if len(names) > 2 and set(pairs) == set(permutations(names, 2)):
        return f"each of {', '.join(names)} → each other"
    return ", ".join(f"{teacher} → {student}" for teacher, student in pairs)
