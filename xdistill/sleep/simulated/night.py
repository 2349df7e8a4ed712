"""A simulated night as files in their true formats: EDF+, film, hypnogram, and what is true."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from xdistill.data.simulation.nights import generators
from xdistill.data.sleep_stages import EPOCH_S
from xdistill.sleep.simulated.edf import write_recording, write_scoring
from xdistill.sleep.simulated.films import film, stated_start, write_film
from xdistill.sleep.simulated.options import NightOptions
from xdistill.sleep.simulated.scene import draw_scene
from xdistill.sleep.simulated.signals import record
from xdistill.sleep.simulated.truth import write_truth


class NightFiles(NamedTuple):
    """The files of one night.

    Attributes:
        eeg: EDF+C with EEG, EOG, EMG and belt.
        film: MP4 or MKV.
        hypnogram: EDF+ annotations; None if it is not wanted.
        truth: JSON, see `truth`.
    """

    eeg: Path
    film: Path
    hypnogram: Path | None
    truth: Path


def write_simulated_night(folder: Path, name: str, options: NightOptions) -> NightFiles:
    """Simulates a night and writes it into a folder.

    Raises:
        FileExistsError: one of the files is there already.
    """
    files = NightFiles(
        folder / f"{name}.edf",
        folder / f"{name}.{options.film}",
        folder / f"{name}_hypnogram.edf" if options.hypnogram else None,
        folder / f"{name}_truth.json",
    )
    for path in files:
        if path is not None and path.exists():
            raise FileExistsError(f"{path} exists; choose another name or folder, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    sleep_rng, eeg_rng, video_rng = generators(options.seed, options.sleeper)
    scene = draw_scene(sleep_rng, video_rng, options)
    write_recording(files.eeg, record(eeg_rng, scene, options), options.start)
    write_film(files.film, film(video_rng, scene, options), options, stated_start(options))
    if files.hypnogram is not None:
        first = round(-scene.first_s / EPOCH_S)
        stages: np.ndarray = scene.night.stage[first : first + options.epochs]
        write_scoring(files.hypnogram, stages, options.start)
    write_truth(files.truth, scene, options)
    return files
