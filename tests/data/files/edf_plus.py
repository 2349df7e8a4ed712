"""EDF+ files with signals, and the time of each record, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from xdistill.data.files.edf import encode_header

TAL_BYTES = 64


def write_edf_plus(
    path: Path,
    signals: Mapping[str, np.ndarray],
    per_record: int,
    *,
    onsets: Sequence[float],
    start: datetime,
    kind: str = "EDF+D",
    record_s: float = 1,
    unit: str = "uV",
) -> Path:
    """Writes signals of whole numbers, and before each record when it begins.

    Args:
        path: the file.
        signals: samples by label.
        per_record: samples of each signal in a record.
        onsets: of each record, in seconds.
        start: of the recording.
        kind: "EDF+D" or "EDF+C".
        record_s: length of a record.
        unit: of all signals.
    """
    columns = [(name, unit, "-2047", "2047", -2047, 2047, per_record) for name in signals]
    columns.append(("EDF Annotations", "", "-1", "1", -32768, 32767, TAL_BYTES // 2))
    content = encode_header(start, "X X X X", kind, len(onsets), record_s, columns)
    for at, onset in enumerate(onsets):
        for samples in signals.values():
            part = samples[at * per_record : (at + 1) * per_record]
            content += np.asarray(part).astype("<i2").tobytes()
        content += f"+{onset:g}\x14\x14\x00".encode().ljust(TAL_BYTES, b"\0")
    path.write_bytes(content)
    return path
