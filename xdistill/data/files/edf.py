"""Headers and files of the European Data Format: signals (EDF) and annotations (EDF+).

The header of BioSemi's BDF is the same, for records of 24-bit integers.

Kemp et al., Electroenceph Clin Neurophysiol 82 (1992) 391; Kemp and Olivan, Clin Neurophysiol 114
(2003) 1755. A file has a text header and then records of 16-bit integers. Each record holds
all signals, and each signal has its own number of samples in a record. Signals are read by mne, not
here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

FIXED_BYTES, SIGNAL_BYTES = 256, 256
BDF = "\xffBIOSEMI"
"""How a BDF file begins; an EDF file begins with "0"."""
DIGITAL_MAX = 2047  # recorders of 12 bits
TYPES = ("eeg", "eog", "emg", "ecg", "ekg", "resp")
"""What EDF+ puts before a label, which some recorders leave out."""


IN_UTF_8 = {"\u00c2uV": "uV", "\u00ce\u00bcV": "uV"}
"""µV, with the micro sign or a Greek mu, as UTF-8 looks when it is read as Latin-1, as EDF says."""


class EdfSignal(NamedTuple):
    """What a header says of one signal.

    Attributes:
        label: its name.
        unit: physical dimension of its values, as it is written there; see `meant_unit`.
        rate_hz: samples a second.
        physical: what the least and the greatest digital value stand for, in ``unit``.
        digital: the least and the greatest stored value.
    """

    label: str
    unit: str
    rate_hz: float
    physical: tuple[float, float]
    digital: tuple[int, int]


class EdfHeader(NamedTuple):
    """What a header says, and the number of records that are there.

    Attributes:
        start: date and time as in the file: dd.mm.yyhh.mm.ss.
        kind: "EDF+C" for continuous and "EDF+D" for discontinuous recordings, "" for plain EDF;
            "BDF+C", "BDF+D" and "24BIT" in BDF.
        records: number of data records.
        record_s: length of a record in seconds.
        signals: all of them.
        sample_bytes: of a stored value, 2 in EDF and 3 in BDF.
    """

    start: str
    kind: str
    records: int
    record_s: float
    signals: tuple[EdfSignal, ...]
    sample_bytes: int = 2

    @property
    def seconds(self) -> float:
        """Length of all records together."""
        return self.records * self.record_s


class Waveform(NamedTuple):
    """A signal to write: samples [t] in ``unit`` from ``-limit`` to ``limit``."""

    label: str
    unit: str
    rate_hz: int
    limit: float
    samples: np.ndarray


def read_edf_header(path: Path) -> EdfHeader:
    """Reads a header without the records.

    A header that was not closed (-1 records) is read where the file's size tells their number. What
    is left over after the last record is counted in a warning.

    Raises:
        ValueError: the file is not EDF, its header contradicts itself, or it is shorter than its
            header says.
    """
    try:
        with path.open("rb") as file:
            fixed = file.read(FIXED_BYTES).decode("latin-1")
            width = 3 if fixed.startswith(BDF) else 2
            records, record_s = int(fixed[236:244]), float(fixed[244:252])
            count = int(fixed[252:256])
            fields = file.read(SIGNAL_BYTES * count).decode("latin-1")
        samples = [int(value) for value in _column(fields, count, 216, 8)]
        signals = _signals(fields, samples, record_s or 1.0)
        if int(fixed[184:192]) != FIXED_BYTES + SIGNAL_BYTES * count or count < 1:
            raise ValueError(f"{count} signals, but {fixed[184:192].strip()} bytes of header")
        if not 0 <= record_s < float("inf") or min(samples) < 1:
            raise ValueError(f"records of {record_s} s with {samples} samples")
    except ValueError as error:
        raise ValueError(
            f"{path} has no EDF header ({error}); if it is an EDF file, copy it again"
        ) from error
    head = FIXED_BYTES + SIGNAL_BYTES * count
    records = _records_there(path, records, head, width * sum(samples))
    return EdfHeader(fixed[168:184], fixed[192:197].strip(), records, record_s, signals, width)


def start_time(header: EdfHeader) -> datetime | None:
    """Date and time of the header, without a time zone; None where they are no date.

    Years to 84 are of this century, as EDF has it.
    """
    parts = re.fullmatch(r"(\d\d)\D(\d\d)\D(\d\d)(\d\d)\D(\d\d)\D(\d\d)", header.start)
    if parts is None:
        return None
    day, month, year, hour, minute, second = map(int, parts.groups())
    try:
        return datetime(year + (2000 if year < 85 else 1900), month, day, hour, minute, second)
    except ValueError:
        return None


def find_signal(path: Path, header: EdfHeader, label: str) -> EdfSignal | None:
    """The signal of that name, in any case, with or without the type before it ("EEG ").

    Raises:
        ValueError: several signals have the name.
    """
    exact = [one for one in header.signals if one.label == label]
    found = exact or [one for one in header.signals if _plain(one.label) == _plain(label)]
    if len(found) > 1:
        raise ValueError(
            f"{path} has {len(found)} signals named {label!r} ("
            f"{', '.join(one.label for one in found)}), expected one; rename the others in the "
            "recorder's software and export the file again"
        )
    return found[0] if found else None


def meant_unit(signal: EdfSignal) -> str:
    """The unit of a signal's values, which some recorders write in UTF-8.

    mne does not know it then: unlike other µV it leaves the values as they are, in µV.
    """
    return IN_UTF_8.get(signal.unit, signal.unit)


def check_scale(path: Path, signal: EdfSignal) -> None:
    """Refuse a signal whose header does not say what its values stand for.

    Raises:
        ValueError: its physical or digital limits are equal, or in the wrong order.
    """
    low, high = signal.digital
    if signal.physical[0] == signal.physical[1] or low >= high:
        raise ValueError(
            f"{path} has {signal.label!r} from {signal.physical[0]:g} to {signal.physical[1]:g} "
            f"{signal.unit or '(no unit)'} for the stored values {low} to {high}, so that what "
            "they stand for is not known; export the recording again with its calibration"
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
    header = encode_header(start, patient, "", records, record_s, signals)
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
    path.write_bytes(encode_header(start, patient, "EDF+C", 1, 0, [signal]) + content)


def _plain(label: str) -> str:
    kind, _, name = label.casefold().partition(" ")
    return " ".join((name if name and kind in TYPES else label.casefold()).split())


def _signals(fields: str, samples: Sequence[int], record_s: float) -> tuple[EdfSignal, ...]:
    count = len(samples)
    low, high = (
        [float(value.replace(",", ".")) for value in _column(fields, count, at, 8)]
        for at in (104, 112)
    )
    least, most = ([int(value) for value in _column(fields, count, at, 8)] for at in (120, 128))
    return tuple(
        EdfSignal(label, _unit(unit), n / record_s, physical, digital)
        for label, unit, n, physical, digital in zip(
            _column(fields, count, 0, 16),
            _column(fields, count, 96, 8),
            samples,
            zip(low, high, strict=True),
            zip(least, most, strict=True),
            strict=True,
        )
    )


def _unit(stored: str) -> str:
    """A unit, with "u" for micro in Latin-1 and Shift JIS, as mne reads it too."""
    return stored.replace("\u00b5", "u").replace("\x83\xca", "u")


def _records_there(path: Path, promised: int, head: int, record: int) -> int:
    size = path.stat().st_size
    whole, rest = divmod(size - head, record)
    if promised == -1 and whole > 0:
        warnings.warn(
            f"{path} was not closed: its header tells no number of records; by its size it has "
            f"{whole}, and {rest} bytes that are not read",
            stacklevel=3,
        )
        return whole
    if promised < 1 or whole < promised:
        raise ValueError(
            f"{path} has {size:,} bytes, but its header announces {promised} records and so "
            f"{head + record * promised:,}; if it is truncated, copy it again"
        )
    if size > head + record * promised:
        warnings.warn(
            f"{path} has {size - head - record * promised:,} bytes more than the {promised} "
            "records that its header announces; they are not read",
            stacklevel=3,
        )
    return promised


def _column(fields: str, count: int, offset: int, width: int) -> list[str]:
    """One field of all signals; a header lists a field for all signals before the next field."""
    first = offset * count
    return [fields[first + width * at : first + width * (at + 1)].strip() for at in range(count)]


def _digital(one: Waveform) -> np.ndarray:
    scaled = np.round(np.asarray(one.samples) * (DIGITAL_MAX / one.limit))
    return scaled.clip(-DIGITAL_MAX, DIGITAL_MAX).astype("<i2")


def encode_header(
    start: datetime,
    patient: str,
    kind: str,
    records: int,
    record_s: float,
    signals: Sequence[tuple[str, str, str, str, int, int, int]],
) -> bytes:
    """A header, for signals of label, unit, physical and digital limits, samples a record."""
    recording = f"Startdate {start:%d-%b-%Y} X X X".upper().replace("STARTDATE", "Startdate")
    size = FIXED_BYTES + SIGNAL_BYTES * len(signals)
    fixed = [("0", 8), (patient, 80), (recording, 80), (f"{start:%d.%m.%y%H.%M.%S}", 16)]
    fixed += [(size, 8), (kind, 44), (records, 8), (f"{record_s:g}", 8), (len(signals), 4)]
    labels, units, lows, highs, digital_lows, digital_highs, samples = zip(*signals, strict=True)
    blank = [""] * len(signals)
    columns = [(labels, 16), (blank, 80), (units, 8), (lows, 8), (highs, 8), (digital_lows, 8)]
    columns += [(digital_highs, 8), (blank, 80), (samples, 8), (blank, 32)]
    fixed += [(value, width) for values, width in columns for value in values]
    return "".join(str(value).ljust(width)[:width] for value, width in fixed).encode("latin-1")
