"""From nights as files to the hypnogram of one: prepare, train, stage, report, export.

Three simulated nights are written as a laboratory has them: EDF, film and hypnogram. A student of
the film learns from the first, validates on the second, and stages the third.

    python examples/night_to_hypnogram.py my_folder
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from xdistill.cli import main as xdistill
from xdistill.sleep.simulated.night import NightOptions, write_simulated_night


def command(*arguments: str | Path) -> None:
    """Run one command as a shell would, and stop where it fails."""
    print("\n$ xdistill", *arguments, flush=True)
    if status := xdistill([str(each) for each in arguments]):
        raise SystemExit(status)


def write_nights(folder: Path, hours: float) -> Path:
    """Three sleepers as EDF, MP4 and hypnogram, and the table that says which belong together."""
    rows = ["subject,eeg,video,hypnogram"]
    for sleeper in range(3):
        options = NightOptions(sleeper=sleeper, hours=hours, condensed=True)
        night = write_simulated_night(folder, f"s{sleeper + 1}", options)
        scoring = night.hypnogram.name if night.hypnogram else ""
        rows.append(f"s{sleeper + 1},{night.eeg.name},{night.film.name},{scoring}")
    table = folder / "nights.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def main(folder: Path, hours: float = 1.0, epochs: int = 10) -> None:
    """All steps, each with its files below ``folder``."""
    table = write_nights(folder / "nights", hours)
    film, scored = folder / "nights" / "s3.mp4", folder / "nights" / "s3_hypnogram.edf"
    prepared, run = folder / "prepared", folder / "run"
    command("prepare", "--table", table, "--out", prepared, "--size", "24")
    split = ("--val-subjects", "s2", "--test-subjects", "s3")
    length = ("--max-epochs", str(epochs), "--teacher-epochs", str(epochs), "--batch-size", "16")
    command("train", prepared, "--out", run, *split, "--methods", "kd", *length)
    command("inspect", run)
    command("stage", film, "--model", run, "--reference", scored, "--out", folder / "night")
    command("export", "--model", run, "--out", folder / "student.onnx")
    command("stage", film, "--model", folder / "student.onnx", "--out", folder / "again")
    print(f"\nThe report: {folder / 'night' / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="night-")))
