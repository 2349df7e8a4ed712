"""Headers and files of the European Data Format: signals (EDF) and annotations (EDF+).

Kemp et al., Electroenceph Clin Neurophysiol 82 (1992) 391; Kemp and Olivan, Clin Neurophysiol 114
(2003) 1755. A file has a text header and then records of 16-bit integers. Each record holds
all signals, and each signal has its own number of samples in a record. Signals are read by mne, not
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

FIXED_BYTES, SIGNAL_BYTES = 256, 256
DIGITAL_MAX = 2047  # recorders of 12 bits


class EdfSignal(NamedTuple):
    """What a header says of one signal."""

    label: str
    unit: str
    rate_hz: float


class EdfHeader(NamedTuple):
    """What a header says. ``start`` is the date and time as in the file: dd.mm.yyhh.mm.ss."""

    start: str
    seconds: float
    signals: tuple[EdfSignal, ...]


class Waveform(NamedTuple):
    """A signal to write: samples [t] in ``unit`` from ``-limit`` to ``limit``."""

    label: str
    unit: str
    rate_hz: int
    limit: float
    samples: np.ndarray


def read_edf_header(path: Path) -> EdfHeader:
    """Reads a header without the records.

    Raises:
        ValueError: the file is not EDF, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            fixed = file.read(FIXED_BYTES).decode("latin-1")
            records, record_s = int(fixed[236:244]), float(fixed[244:252])
            count = int(fixed[252:256])
            fields = file.read(SIGNAL_BYTES * count).decode("latin-1")
        labels, units = _column(fields, count, 0, 16), _column(fields, count, 96, 8)
        samples = [int(value) for value in _column(fields, count, 216, 8)]
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} has no EDF header ({error}); copy it again") from error
    expected = FIXED_BYTES + SIGNAL_BYTES * count + 2 * records * sum(samples)
    if records < 1 or path.stat().st_size < expected:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes, but its header announces {records} records "
            f"and so {expected:,}; it is truncated: copy it again"
        )
    signals = zip(labels, units, [n / (record_s or 1.0) for n in samples], strict=True)
    return EdfHeader(
        fixed[168:184], records * record_s, tuple(EdfSignal(*signal) for signal in signals)
    )


def write_edf(
    path: Path,
    waveforms: Sequence[Waveform],
    *,
    start: datetime,
    patient: str = "X X X X",
    record_s: int = 30,
) -> None:
    """Writes signals of different rates as EDF; samples after the last whole record are dropped.

    Values beyond a signal's limits are clipped; all are rounded to 12 bits.
    """
    records = min(len(one.samples) // (one.rate_hz * record_s) for one in waveforms)
    blocks = [
        _digital(one)[: records * one.rate_hz * record_s].reshape(records, -1) for one in waveforms
    ]
    signals = [
        (one.label, one.unit, f"{-one.limit:g}", f"{one.limit:g}", -DIGITAL_MAX, DIGITAL_MAX, width)
        for one, width in zip(waveforms, [block.shape[1] for block in blocks], strict=True)
    ]
    header = _header(start, patient, "", records, record_s, signals)
    path.write_bytes(header + np.concatenate(blocks, axis=1).tobytes())


def write_edf_annotations(
    path: Path,
    blocks: Sequence[tuple[float, float, str]],
    *,
    start: datetime,
    patient: str = "X X X X",
) -> None:
    """Writes annotations (start in s, length in s, text) as EDF+ of one record without signals."""
    lists = [f"+{at:g}\x15{length:g}\x14{text}\x14\x00" for at, length, text in blocks]
    content = ("+0\x14\x14\x00" + "".join(lists)).encode()
    content += b"\x00" * (2 + len(content) % 2)
    signal = ("EDF Annotations", "", "0", "1", -32768, 32767, len(content) // 2)
    path.write_bytes(_header(start, patient, "EDF+C", 1, 0, [signal]) + content)


def _column(fields: str, count: int, offset: int, width: int) -> list[str]:
    """One field of all signals; a header lists a field for all signals before the next field."""
    first = offset * count
    return [fields[first + width * at : first + width * (at + 1)].strip() for at in range(count)]


def _digital(one: Waveform) -> np.ndarray:
    scaled = np.round(np.asarray(one.samples) * (DIGITAL_MAX / one.limit))
    return scaled.clip(-DIGITAL_MAX, DIGITAL_MAX).astype("<i2")


def _header(
    start: datetime,
    patient: str,
    kind: str,
    records: int,
    record_s: int,
    signals: Sequence[tuple[str, str, str, str, int, int, int]],
) -> bytes:
    recording = f"Startdate {start:%d-%b-%Y} X X X".upper().replace("STARTDATE", "Startdate")
    size = FIXED_BYTES + SIGNAL_BYTES * len(signals)
    fixed = [("0", 8), (patient, 80), (recording, 80), (f"{start:%d.%m.%y%H.%M.%S}", 16)]
    fixed += [(size, 8), (kind, 44), (records, 8), (record_s, 8), (len(signals), 4)]
    labels, units, lows, highs, digital_lows, digital_highs, samples = zip(*signals, strict=True)
    blank = [""] * len(signals)
    columns = [(labels, 16), (blank, 80), (units, 8), (lows, 8), (highs, 8), (digital_lows, 8)]
    columns += [(digital_highs, 8), (blank, 80), (samples, 8), (blank, 32)]
    fixed += [(value, width) for values, width in columns for value in values]
    return "".join(str(value).ljust(width)[:width] for value, width in fixed).encode("latin-1")
