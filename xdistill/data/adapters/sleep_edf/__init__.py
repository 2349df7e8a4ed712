"""Sleep-EDF as PhysioNet ships it."""

from xdistill.data.adapters.sleep_edf.adapter import sleep_edf

__all__ = ["sleep_edf"]
