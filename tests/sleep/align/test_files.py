"""From files to clocks: EDF+ and film of a night whose film begins late and drifts."""

import json

import numpy as np
import pytest

from xdistill.data.simulation.nights import generators
from xdistill.sleep.align import estimate_alignment, expected_offset, grids
from xdistill.sleep.films.epochs import film_epochs
from xdistill.sleep.films.facts import film_facts
from xdistill.sleep.recordings.recording import read_recording
from xdistill.sleep.simulated import NightOptions, write_simulated_night
from xdistill.sleep.simulated.scene import draw_scene
from xdistill.sleep.video_options import VideoOptions

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("edfio")
pytest.importorskip("mne")

FPS = 10.0
OPTIONS = NightOptions(
    hours=0.3,
    from_hour=0.1,
    sleeper=5,
    width=64,
    height=64,
    fps=FPS,
    eeg_hz=100,
    film_late_s=42.6,
    film_drift=5e-4,
    film_start_error_s=3.4,
)
VIDEO = VideoOptions(size=16, body_size=48)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    files = write_simulated_night(tmp_path_factory.mktemp("night"), "a", OPTIONS)
    recording = read_recording(files.eeg, {"eeg": [], "eog": [], "emg": ["EMG chin"]})
    epochs = list(film_epochs(files.film, VIDEO, threads=1))
    missing = np.full((len(VIDEO.body_channels), VIDEO.body_samples), np.nan, np.float32)
    body = np.concatenate([missing if e.body is None else e.body for e in epochs], axis=1)
    return files, recording, film_facts(files.film), body


def test_a_wrong_start_and_a_drift_are_found_to_a_frame(night):
    _, recording, facts, body = night
    expected_s = expected_offset(recording.start, facts.start)
    assert expected_s == 46.0
    found = estimate_alignment(recording, body, VIDEO.body_rate_hz, offset_s=expected_s)
    assert (found.evidence, found.clear) == ("belt", True)
    for late_s in (0, OPTIONS.film_length_s):
        film_s = late_s * (1 + found.drift)
        shown_s = found.offset_s + film_s / (1 + found.drift)
        true_s = OPTIONS.film_late_s + film_s / (1 + OPTIONS.film_drift)
        assert abs(shown_s - true_s) < 1.5 / FPS  # a frame, and what the encoder holds back
    assert abs(found.drift - 5e-4) < 4 * found.drift_sd


def test_movements_are_seen_at_their_times_in_film_and_chin(night):
    """Events that both see lie within one frame of the truth, each on its clock by the grids."""
    files, recording, facts, body = night
    truth = json.loads(files.truth.read_text())
    clocks = truth["offset_s"], truth["drift"]
    lengths_s = recording.duration_s, facts.duration_s
    eeg, film = grids(recording.start, facts.start, *lengths_s, *clocks)
    sleep_rng, _, video_rng = generators(OPTIONS.seed, OPTIONS.sleeper)
    scene = draw_scene(sleep_rng, video_rng, OPTIONS)
    chin = recording.signals["emg"].values[0]
    power = (chin[: len(chin) // 10 * 10].reshape(-1, 10) ** 2).mean(axis=1)
    for course, grid, middle in ((body[1], film, 0.0), (np.sqrt(power), eeg, 0.5)):
        seen = np.isfinite(course)
        own_s = (np.arange(len(course)) + middle) / 10  # the middle of what a sample is of
        night_s = (own_s[seen] - grid.start_s) / grid.epoch_s * 30
        fits = {}
        for late_s in np.arange(-10, 11) / 20:
            moving = np.minimum(scene.movement(night_s - late_s), 0.5)
            fits[late_s] = np.corrcoef(np.log(course[seen] + 0.1), np.log(moving + 0.02))[0, 1]
        late_s = max(fits, key=lambda each: fits[each])
        assert abs(late_s) <= 1 / FPS, fits
        edges = [fits[tried] for tried in (min(fits), max(fits))]
        assert fits[late_s] > max(edges) + 0.02, fits
