"""What a night costs: eight hours of film staged and prepared, and the memory that it takes.

A film of eight hours at 640 × 480 and 25 frames a second is staged by `xdistill stage` with a small
student, in a process of its own whose memory is read every second, and beside it the same film is
only decoded: the limit of any program. `xdistill prepare` is timed on one core with an hour of it.
Writes results/night.json.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from night_costs.film import long_film
from night_costs.process import Usage, measured
from night_students.films import write_nights

from xdistill.cli import main as xdistill
from xdistill.report import environment, write_json

RESULTS = Path(__file__).parent / "results" / "night.json"
DECODE = (
    "import av, sys\n"
    "with av.open(sys.argv[1]) as film:\n"
    "    track = film.streams.video[0]\n"
    "    track.thread_type = 'AUTO'\n"
    "    for frame in film.decode(track):\n"
    "        pass\n"
)


@dataclass(frozen=True)
class Options:
    """What to measure."""

    hours: float = 8.0
    """Length of the film that is staged."""
    decoded_hours: float = 1.0
    """Length of the film that is only decoded."""
    prepared_hours: float = 1.0
    """Length of the film that is prepared."""
    width: int = 640
    """Width of the picture in pixels."""
    height: int = 480
    """Height of the picture in pixels."""
    fps: float = 25.0
    """Frames a second."""
    model: Path | None = None
    """Run whose student stages the film; one is trained on three short nights when left out."""
    work: Path | None = None
    """Folder of the films, which are kept; a folder that is deleted when left out."""
    out: Path = RESULTS
    """Where the JSON goes."""


def main(options: Options) -> None:
    """Make the films, measure, and write the JSON."""
    work = options.work or Path(tempfile.mkdtemp(prefix="night-"))
    try:
        figures = measure(options, work)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    write_json(options.out, {**environment(), "film": _film(options), **figures})
    print(f"written: {options.out}")


def measure(options: Options, work: Path) -> dict[str, Any]:
    """The figures of the decoder, of stage and of prepare."""
    shape = (options.width, options.height, options.fps)
    film = long_film(work, options.hours, *shape)
    model = options.model or small_run(work)
    piece = long_film(work, options.decoded_hours, *shape)
    decoded = measured([sys.executable, "-c", DECODE, str(piece)])
    told("decoding alone", decoded, options.decoded_hours)
    command = [sys.executable, "-m", "xdistill", "stage", str(film), "--model", str(model)]
    staged = measured([*command, "--out", str(work / "staged"), "--overwrite"])
    told("stage", staged, options.hours)
    short = long_film(work, options.prepared_hours, *shape)
    out = work / "prepared-film"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "xdistill", "prepare", "--video", str(short)]
    command += ["--subject", "s1", "--workers", "1", "--out", str(out)]
    prepared = measured(command, cores=1)
    told("prepare, one core", prepared, options.prepared_hours)
    return {
        "decode": entry(decoded, options.decoded_hours),
        "stage": entry(staged, options.hours),
        "prepare": entry(prepared, options.prepared_hours),
        "stage_to_decode": round(
            staged.seconds / options.hours / (decoded.seconds / options.decoded_hours), 3
        ),
    }


def small_run(work: Path) -> Path:
    """A run whose student was trained on three short nights; its quality does not matter here."""
    run = work / "run"
    if (run / "config.json").exists():
        return run
    (work / "nights").mkdir(parents=True, exist_ok=True)
    table = write_nights(work / "nights", sleepers=3, hours=0.5, fps=5.0, processes=1)
    prepared = work / "prepared"
    for command in (
        ["prepare", "--table", str(table), "--out", str(prepared)],
        ["train", str(prepared), "--out", str(run), "--max-epochs", "1", "--teacher-epochs", "1"],
    ):
        if status := xdistill(command):
            raise RuntimeError(f"xdistill {' '.join(command)} ended with status {status}")
    return run


def told(what: str, usage: Usage, hours: float) -> None:
    """Print one line."""
    times = 3600 * hours / usage.seconds
    print(f"{what}: {usage.seconds:.0f} s, {times:.1f} × real time, peak {usage.peak_mb:.0f} MB")


def entry(usage: Usage, hours: float) -> dict[str, Any]:
    """What the JSON says of a process."""
    return {"hours": hours, "times_real_time": round(3600 * hours / usage.seconds, 2)} | asdict(
        usage
    )


def _film(options: Options) -> dict[str, Any]:
    return {"width": options.width, "height": options.height, "fps": options.fps, "codec": "h264"}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
