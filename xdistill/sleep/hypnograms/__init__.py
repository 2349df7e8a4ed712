"""Hypnograms: read, written, brought onto a recording's epochs, and made by YASA."""

from xdistill.sleep.hypnograms.hypnogram import Hypnogram, grid_of, on_grid
from xdistill.sleep.hypnograms.read import read_hypnogram
from xdistill.sleep.hypnograms.write import write_hypnogram
from xdistill.sleep.hypnograms.yasa_staging import stage_with_yasa

__all__ = [
    "Hypnogram",
    "grid_of",
    "on_grid",
    "read_hypnogram",
    "stage_with_yasa",
    "write_hypnogram",
]
