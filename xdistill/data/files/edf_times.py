"""When the records of an EDF file were recorded.

In EDF and EDF+C one follows the other. In EDF+D there may be time between two, and each says in its
first annotation when it begins (Kemp and Olivan 2003, 2.2.4).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from xdistill.data.files.edf import FIXED_BYTES, SIGNAL_BYTES, EdfHeader

ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)[\x14\x15]")
CLOSE_S = 1e-4


def record_starts(path: Path, header: EdfHeader) -> Float64[np.ndarray, " r"]:
    """Seconds from the header's start to each record.

    Raises:
        ValueError: a discontinuous recording that does not say when its records begin, or records
            that overlap.
    """
    steady = np.arange(header.records) * header.record_s
    first = next((k for k, one in enumerate(header.signals) if one.label in ANNOTATIONS), None)
    if not header.kind.startswith(("EDF+", "BDF+")) or not header.record_s:
        return steady
    found = None if first is None else _onsets(path, header, first)
    if found is None:
        if header.kind.endswith("+D"):
            raise ValueError(
                f"{path} is discontinuous ({header.kind}), but does not say when each of its "
                f"{header.records} records begins; export it again as EDF+C"
            )
        return steady
    if (np.diff(found) < header.record_s - CLOSE_S).any():
        raise ValueError(
            f"{path} has records of {header.record_s:g} s that overlap or go back in time; export "
            "it again"
        )
    if header.kind.endswith("+C") and (abs(found - found[0] - steady) > header.record_s / 2).any():
        raise ValueError(
            f"{path} says that it is continuous ({header.kind}), but its records have gaps; export "
            "it again as EDF+D"
        )
    return found


def first_onset(path: Path, header: EdfHeader) -> float:
    """Seconds from the header's start to the first record, as its first annotation states them.

    EDF+ keeps the part of a second there that its header cannot hold.
    """
    first = next((k for k, one in enumerate(header.signals) if one.label in ANNOTATIONS), None)
    if first is None or not header.kind.startswith(("EDF+", "BDF+")):
        return 0.0
    found = _onsets(path, header._replace(records=1), first)
    return 0.0 if found is None else float(found[0])


def first_sample(
    starts: Float64[np.ndarray, " r"],
    record_s: float,
    rate_hz: float,
    start_s: float,
    length_s: float,
) -> int | None:
    """Position in the stored samples of what was recorded from ``start_s`` on.

    None if any part of ``length_s`` was not recorded.
    """
    at, last = np.searchsorted(starts, [start_s + CLOSE_S, start_s + length_s - CLOSE_S], "right")
    at, last = int(at) - 1, int(last) - 1
    if at < 0:
        return None
    unbroken = abs(starts[last] - starts[at] - (last - at) * record_s) < (last - at + 1) * CLOSE_S
    if not unbroken or start_s + length_s > starts[last] + record_s + CLOSE_S:
        return None
    return round((at * record_s + start_s - float(starts[at])) * rate_hz)


def _onsets(path: Path, header: EdfHeader, signal: int) -> Float64[np.ndarray, " r"] | None:
    """The beginning that each record's first annotation states; None if one states none."""
    sizes = [
        header.sample_bytes * round(one.rate_hz * (header.record_s or 1)) for one in header.signals
    ]
    begin, width = sum(sizes[:signal]), sum(sizes)
    head = FIXED_BYTES + SIGNAL_BYTES * len(header.signals)
    content = np.memmap(path, np.uint8, "r", offset=head, shape=(header.records, width))
    found = [
        ONSET.match(content[row, begin : begin + sizes[signal]].tobytes())
        for row in range(header.records)
    ]
    if not all(found):
        return None
    return np.array([float(match[1]) for match in found if match])
