"""The commands of a sleep lab: each has its options and its function in a package of its own."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from xdistill.extras import import_extra

COMMANDS = {
    "prepare": "nights as files (EDF, film, hypnogram) become one folder to train on",
    "train": "a student that stages sleep, from a prepared folder",
    "stage": "a new night from its film alone: hypnogram, statistics and report",
    "inspect": "what a run holds, and whether its students can be loaded",
}
"""Names of packages in `xdistill.sleep`, each with `Options` and `run` in its module `command`."""


def run_sleep_command(name: str, arguments: Sequence[str]) -> int:
    """Read the command's options from the arguments and run it.

    Raises:
        ImportError: a library of the extra `sleep` is missing.
    """
    tyro = import_extra("tyro", "sleep", f"xdistill {name}")
    command = importlib.import_module(f"xdistill.sleep.{name}.command")
    options = tyro.cli(
        command.Options, prog=f"xdistill {name}", description=command.__doc__, args=arguments
    )
    return command.run(options)
