"""Simulated nights as files in their true formats."""

from xdistill.sleep.simulated.night import NightFiles, write_simulated_night
from xdistill.sleep.simulated.options import NightOptions
from xdistill.sleep.simulated.repeat import repeat_film

__all__ = ["NightFiles", "NightOptions", "repeat_film", "write_simulated_night"]
