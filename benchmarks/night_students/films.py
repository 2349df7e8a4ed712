"""Simulated nights as files, and a table of them as a laboratory would write it."""

from __future__ import annotations

import csv
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from xdistill.sleep.simulated.night import NightFiles, NightOptions, write_simulated_night


def write_nights(folder: Path, sleepers: int, hours: float, fps: float, processes: int) -> Path:
    """EDF, MP4 and hypnogram of every sleeper, and `nights.csv`, unless they are there.

    The nights are condensed: their epochs are taken evenly from eight hours, so that a short night
    has all stages, and every fourth epoch follows the last where `hours` is two.
    """
    table = folder / "nights.csv"
    if table.exists():
        return table
    write = partial(_write, folder, hours, fps)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        files = list(pool.map(write, range(sleepers)))
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("subject", "eeg", "video", "hypnogram"))
        for sleeper, night in enumerate(files):
            scoring = night.hypnogram.name if night.hypnogram else ""
            rows.writerow((f"s{sleeper + 1:02d}", night.eeg.name, night.film.name, scoring))
    return table


def _write(folder: Path, hours: float, fps: float, sleeper: int) -> NightFiles:
    name = f"s{sleeper + 1:02d}"
    for left in folder.glob(f"{name}*"):  # of a run that was killed
        left.unlink()
    options = NightOptions(sleeper=sleeper, hours=hours, fps=fps, condensed=True)
    return write_simulated_night(folder, name, options)
