"""Whether voltages are what their file says: a brain's microvolts, or numbers of another size."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float32

MICROVOLTS = {
    **{"nv": 1e-3, "uv": 1.0, "\u00b5v": 1.0, "\u03bcv": 1.0, "mv": 1e3, "v": 1e6},
    **{"microv": 1.0, "microvolt": 1.0, "microvolts": 1.0, "volt": 1e6, "volts": 1e6},
}
"""How many µV each unit is, by its name in lower case."""
UNITS = ("uV", "mV", "V")
"""Those that a file without a unit may be in."""
USUAL = {"eeg": (1.0, 300.0), "eog": (1.0, 500.0), "emg": (0.3, 250.0)}
"""From and to which µV the standard deviation of a second usually is, the median of the night.

Sleepers' EEG has about 5 to 60 µV. The limits are less than a factor of 1,000 apart, so that the
same numbers are usual in one unit alone."""
LEAST_SCALE = 50.0
"""µV: no amplifier of EEG has a smaller range than this, so that such a range has another unit."""
FLAT_UV = 0.5
"""A second with a smaller standard deviation is flat."""


def scale_of(
    kind: str,
    values: Float32[np.ndarray, " t"],
    rate_hz: int,
    unit: str,
    full_scale: float | None,
    what: str,
) -> float:
    """The factor that makes a filtered signal microvolts.

    The unit that the file states holds where it gives usual amplitudes. Where another one does,
    and alone, it is taken with a warning.

    Args:
        kind: "eeg", "eog" or "emg".
        values: filtered, in the unit of the file.
        rate_hz: of ``values``.
        unit: as stated; "" where it is not.
        full_scale: the largest value that the file can hold, in its unit.
        what: names the channel in messages.

    Raises:
        ValueError: a unit that is no voltage, or amplitudes that are not usual in any unit.
    """
    low, high = USUAL[kind]
    size = typical(values, rate_hz)
    stated = MICROVOLTS.get(unit.strip().casefold())
    if unit.strip() and stated is None:
        raise ValueError(
            f"{what} is in {unit!r}, expected a voltage ({', '.join(UNITS)}); choose another "
            "channel, or say with unit= what it is in"
        )
    if stated is not None and (size == 0 or low <= size * stated <= high):
        return stated
    fits = [one for one in UNITS if low <= size * MICROVOLTS[one.casefold()] <= high]
    if stated is None:
        if not fits:
            raise ValueError(
                f"{what} states no unit, and typically varies by {size:.3g}, which is not usual "
                f"in {', '.join(UNITS)}; say with unit= what it is in, or choose another channel"
            )
        warnings.warn(
            f"{what} states no unit; it typically varies by {size:.3g}, so that {fits[0]} are "
            "taken",
            stacklevel=2,
        )
        return MICROVOLTS[fits[0].casefold()]
    return _corrected(kind, size, stated, unit, fits, full_scale, what)


def _corrected(
    kind: str,
    size: float,
    stated: float,
    unit: str,
    fits: list[str],
    full_scale: float | None,
    what: str,
) -> float:
    low, high = USUAL[kind]
    said = (
        f"{what} typically varies by {size * stated:.3g} µV if it is in {unit}, as its file says, "
        f"and {low:g} to {high:g} µV are usual"
    )
    small = size * stated < low
    small_range = full_scale is None or full_scale * stated < LEAST_SCALE
    factor = MICROVOLTS[fits[0].casefold()] if fits else stated
    if small and not small_range:
        warnings.warn(
            f"{said}: its electrode is off, or its gain is wrong. Look at it, or choose another "
            "channel",
            stacklevel=2,
        )
        return stated
    if not fits or (small and factor < stated) or factor == stated:
        if size * stated < 4 * high and not small:
            warnings.warn(f"{said}: look at it, or choose another channel", stacklevel=2)
            return stated
        raise ValueError(f"{said}; say with unit= what it is in, or choose another channel")
    warnings.warn(f"{said}: {fits[0]} are taken. Say with unit= if that is wrong", stacklevel=2)
    return factor


def typical(values: Float32[np.ndarray, " t"], rate_hz: int) -> float:
    """The median over the seconds of their standard deviation; seconds without any left out."""
    deviations = deviation_by_second(values, rate_hz)
    deviations = deviations[deviations > 0]
    return float(np.median(deviations)) if len(deviations) else 0.0


def deviation_by_second(
    values: Float32[np.ndarray, "*c t"], rate_hz: int
) -> Float32[np.ndarray, "*c s"]:
    """Standard deviation of each whole second."""
    seconds = values.shape[-1] // rate_hz
    cut = values[..., : seconds * rate_hz]
    return cut.reshape(*values.shape[:-1], seconds, rate_hz).std(axis=-1)
