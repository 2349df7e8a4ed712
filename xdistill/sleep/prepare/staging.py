"""YASA's stages in the epochs of a night."""

from __future__ import annotations

from xdistill.sleep.grid import Grid
from xdistill.sleep.hypnograms.hypnogram import Hypnogram, on_grid
from xdistill.sleep.hypnograms.yasa_staging import stage_with_yasa
from xdistill.sleep.recordings.recording import Recording


def yasa_of(recording: Recording, grid: Grid) -> Hypnogram:
    """Stage a recording with YASA, whose epochs begin where those of the grid do.

    The first channel of each kind is given to it.

    Raises:
        ValueError: the recording has no EEG, or is too short for it.
        ImportError: yasa is missing.
    """
    if "eeg" not in recording.signals:
        raise ValueError(
            f"{recording.path} has no EEG, which YASA stages; name its channels with --eeg-channel "
            "or in the column eeg_channel, or leave YASA out"
        )
    whole = _from(recording, grid.start_s)
    first = {
        kind: whole.signals[kind].channels[0] if kind in whole.signals else None
        for kind in ("eeg", "eog", "emg")
    }
    staged = stage_with_yasa(whole, eeg=first["eeg"], eog=first["eog"], emg=first["emg"])
    return on_grid(staged._replace(start_s=staged.start_s + grid.start_s), grid)


def _from(recording: Recording, start_s: float) -> Recording:
    """The recording without its beginning."""
    if not start_s:
        return recording
    signals = {
        kind: one._replace(
            values=one.values[:, round(start_s * one.rate_hz) :],
            clipped=_later(one.clipped, start_s),
        )
        for kind, one in recording.signals.items()
    }
    return recording._replace(
        signals=signals,
        duration_s=recording.duration_s - start_s,
        gaps=_later(recording.gaps, start_s),
    )


def _later(
    stretches: tuple[tuple[float, float], ...], start_s: float
) -> tuple[tuple[float, float], ...]:
    return tuple(
        (max(0.0, first - start_s), last - start_s) for first, last in stretches if last > start_s
    )
