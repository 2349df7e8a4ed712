"""The options of `xdistill prepare`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from xdistill.sleep.hypnograms.scores import Numbers
from xdistill.sleep.prepare.table import NightRow, NightTable, read_table, single_night
from xdistill.sleep.video_options import VideoOptions

CorrectDrift = Literal["auto", "always", "never"]
ONE_NIGHT = ("subject", "night", "eeg", "video", "hypnogram", "video_offset_s")
KINDS = ("eeg", "eog", "emg", "resp")


@dataclass(frozen=True)
class Options:
    """What to prepare, and how. Give a table of nights, or one night with --subject.

    Raises:
        ValueError: no night, or options that do not go together.
    """

    out: Path
    """Folder of the prepared nights. Nights that are finished there are kept, others are added."""
    table: Path | None = None
    """CSV with a row a night: subject, eeg, video, hypnogram, video_offset_s, and optionally night,
    region, eeg_channel, eog_channel, emg_channel, resp_channel (several names between |). Names of
    files are relative to the table; cells may be empty."""
    subject: str | None = None
    """Of one night: who slept."""
    night: str | None = None
    """Of one night: its name; the subject's with -1 when left out."""
    eeg: Path | None = None
    """Of one night: the recording (EDF, BDF, FIF, BrainVision)."""
    video: Path | None = None
    """Of one night: the film."""
    hypnogram: str | None = None
    """Of one night: the scorer's file, or "yasa" to have YASA stage the EEG in its place."""
    video_offset_s: float | None = None
    """Of one night: how many seconds after the recording the film begins; from the start times of
    both when left out."""
    hypnogram_numbers: Numbers | None = None
    """What numbers mean in hypnograms that are texts: YASA's (4 is REM) or those of Rechtschaffen
    and Kales (4 is stage 4, 5 is REM)."""
    yasa: bool = False
    """Stage every night with YASA, beside its scorer's hypnogram, and keep the probabilities."""
    correct_drift: CorrectDrift = "auto"
    """Move the film onto the recording's clock by what both show of breathing and movement. auto:
    where the evidence is clear and they differ noticeably; always: wherever there is evidence;
    never: only report."""
    signals: tuple[str, ...] = KINDS
    """Kinds of signals to keep: eeg, eog, emg, resp."""
    eeg_channel: tuple[str, ...] = ()
    """Names of the EEG channels, for nights whose row has none; the usual ones when left out."""
    eog_channel: tuple[str, ...] = ()
    """Names of the EOG channels."""
    emg_channel: tuple[str, ...] = ()
    """Names of the EMG channels."""
    resp_channel: tuple[str, ...] = ()
    """Names of the breathing channels."""
    reference: tuple[str, ...] = ()
    """Electrodes whose mean is subtracted from EEG and EOG channels that were recorded alone."""
    unit: Literal["uV", "mV", "V"] | None = None
    """Unit of all voltages, instead of what the files say."""
    frames: int = VideoOptions.frames
    """Frames of a clip, spread evenly over the epoch of 30 s."""
    size: int = VideoOptions.size
    """Side of a clip's frame in pixels."""
    region: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the bed as shares of the upright picture, for nights whose
    row has none; the whole picture when left out."""
    body_rate_hz: int = VideoOptions.body_rate_hz
    """Samples a second of the body's signals."""
    body_size: int = VideoOptions.body_size
    """Side in pixels of the square in which the body's signals are looked for."""
    grid: int = VideoOptions.grid
    """Blocks along each side of that square, each with an activity of its own."""
    workers: int = 1
    """Nights that are prepared at the same time, each in a process of its own."""
    overwrite: bool = False
    """Prepare all nights of the table again, in place of what is in the folder."""

    def __post_init__(self) -> None:
        if (self.table is None) == (self.subject is None):
            raise ValueError(
                "expected either --table with a row a night, or --subject with --eeg, --video or "
                f"both; got {'neither' if self.table is None else 'both'}"
            )
        given = [name for name in ONE_NIGHT[1:] if getattr(self, name) is not None]
        if self.table is not None and given:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ValueError(f"{flags} is of one night; with --table, write it into the table")
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.workers}")
        unknown = sorted(set(self.signals) - set(KINDS))
        if unknown or len(set(self.signals)) < len(self.signals):
            raise ValueError(
                f"--signals must be some of {', '.join(KINDS)}, each once, got "
                f"{' '.join(self.signals)}"
            )
        self.film_options(None)

    def film_options(self, region: tuple[float, float, float, float] | None) -> VideoOptions:
        """What becomes of a film, with a night's own region where it has one."""
        return VideoOptions(
            frames=self.frames,
            size=self.size,
            region=region or self.region,
            body_rate_hz=self.body_rate_hz,
            body_size=self.body_size,
            grid=self.grid,
        )

    def channels(self, row: NightRow) -> dict[str, tuple[str, ...]]:
        """Names of channels by kind: the row's, else the options'; empty for a kind to leave out.

        Kinds that nobody named are not in it.
        """
        own = {kind: getattr(self, f"{kind}_channel") for kind in KINDS}
        named = {kind: names for kind, names in own.items() if names} | dict(row.channels)
        return {kind: named.get(kind, ()) for kind in KINDS if kind in named}

    def settings(self) -> dict[str, Any]:
        """What decides the values of every night, as prepared.json keeps it."""
        how = {"out", "table", "workers", "overwrite", *ONE_NIGHT}
        kept = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in how}
        kept = {name: list(one) if isinstance(one, tuple) else one for name, one in kept.items()}
        video = {name: kept.pop(name) for name in asdict(VideoOptions())}
        return {**kept, "video": video}

    def nights(self) -> NightTable:
        """The nights to prepare; raises as `read_table` does."""
        if self.table is not None:
            return read_table(self.table)
        cells = {name: getattr(self, name) for name in ONE_NIGHT}
        given = {name: str(value) for name, value in cells.items() if value is not None}
        return NightTable((single_night(given),), ())
