"""Simulated nights as files in their true formats."""

from xdistill.sleep.simulated.night import NightFiles, write_simulated_night
from xdistill.sleep.simulated.options import NightOptions

__all__ = ["NightFiles", "NightOptions", "write_simulated_night"]
