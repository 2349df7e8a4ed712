"""Nights of one's own laboratory: the prepared folder, and the data set that reads it."""

from xdistill.data.adapters.nights.adapter import Judge, night_and_epoch, nights, row_id, stages_of
from xdistill.data.adapters.nights.folder import (
    NightStatus,
    Prepared,
    list_nights,
    read_prepared,
    remove_abandoned,
    write_epochs,
    write_prepared,
)
from xdistill.data.adapters.nights.layout import NightRecord, read_night, usable
from xdistill.data.adapters.nights.writer import NightWriter, write_night

__all__ = [
    "Judge",
    "NightRecord",
    "NightStatus",
    "NightWriter",
    "Prepared",
    "list_nights",
    "night_and_epoch",
    "nights",
    "read_night",
    "read_prepared",
    "remove_abandoned",
    "row_id",
    "stages_of",
    "usable",
    "write_epochs",
    "write_night",
    "write_prepared",
]
