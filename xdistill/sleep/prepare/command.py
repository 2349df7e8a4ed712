"""Nights as files (recording, film, hypnogram) become one folder to train on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from xdistill.data.adapters.nights import NightStatus, remove_abandoned
from xdistill.sleep.prepare.folder import Plan, complete, facts_of_night, keep, plan_for, stops_all
from xdistill.sleep.prepare.night import NightTask, prepare_night
from xdistill.sleep.prepare.options import Options
from xdistill.sleep.prepare.progress import Progress
from xdistill.sleep.prepare.summary import summary
from xdistill.sleep.prepare.table import NightRow
from xdistill.sleep.prepare.workers import run_all
from xdistill.storage.lock import alone_in

__all__ = ["Options", "run"]
INTERRUPTED = 130
"""The exit status of a command that was stopped by its user."""


def run(options: Options) -> int:
    """Prepare the nights; 1 if one of them failed, else 0.

    Raises:
        ValueError: a mistake in the table or the options, or a folder that was prepared otherwise.
        OSError: files are missing, the folder cannot be written, or another run is at work in it.
        ImportError: a library is missing.
    """
    table = options.nights()
    root = options.out.expanduser()
    with alone_in(root):
        remove_abandoned(root)
        plan = plan_for(root, table.nights, options)
        for note in (*table.notes, *plan.notes):
            print(f"note: {note}")
        print(f"{len(table.nights)} nights: {len(plan.kept)} done, {len(plan.todo)} to do")
        nights = dict(plan.nights)
        keep(root, options, nights)
        try:
            _prepare(root, options, plan, nights)
        except KeyboardInterrupt:
            remove_abandoned(root)
            print("stopped; finished nights are kept: the same command continues", file=sys.stderr)
            return INTERRUPTED
        complete(root)
    print(summary([_outcome(root, row, nights[row.name]) for row in table.nights]))
    return int(any(nights[row.name].status == "failed" for row in table.nights))


def _prepare(root: Path, options: Options, plan: Plan, nights: dict[str, NightStatus]) -> None:
    """Prepare what is to do, and keep how each night ended."""
    workers = min(options.workers, max(1, len(plan.todo)))
    threads = 0 if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
    rows = {row.name: row for row in plan.todo}
    tasks = [(name, NightTask(root, row, options, threads)) for name, row in rows.items()]
    with Progress(len(tasks)) as progress:
        for ended in run_all(
            prepare_night, tasks, workers=workers, told=progress.at, stops=stops_all
        ):
            progress.end(ended.name, "done" if ended.error is None else f"failed: {ended.error}")
            if ended.stops:
                raise OSError(f"night {ended.name}: {ended.error}; the other nights wait")
            nights[ended.name] = NightStatus(
                rows[ended.name].subject,
                "done" if ended.error is None else "failed",
                ended.error,
            )
            keep(root, options, nights)


def _outcome(root: Path, row: NightRow, status: NightStatus):
    failed = status.status == "failed"
    return row.name, row.subject, status.error or "" if failed else facts_of_night(root, row.name)
