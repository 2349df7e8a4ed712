"""From files to clocks: EDF+ and film of a night whose film begins late and drifts."""

import json

import numpy as np
import pytest

from xdistill.sleep.align import estimate_alignment, expected_offset, grids
from xdistill.sleep.films.epochs import film_epochs
from xdistill.sleep.films.facts import film_facts
from xdistill.sleep.recordings.recording import read_recording
from xdistill.sleep.simulated import NightOptions, write_simulated_night
from xdistill.sleep.video_options import VideoOptions

pytest.importorskip("av")
pytest.importorskip("cv2")
pytest.importorskip("edfio")
pytest.importorskip("mne")

FPS = 10.0
OPTIONS = NightOptions(
    hours=0.3,
    from_hour=0.1,
    sleeper=3,
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


def test_a_turn_is_seen_at_its_time_in_film_and_chin(night):
    """An event that both see: within one frame of the truth on the film's clock by the grids."""
    files, recording, facts, body = night
    truth = json.loads(files.truth.read_text())
    eeg, film = grids(
        recording.start,
        facts.start,
        recording.duration_s,
        facts.duration_s,
        truth["offset_s"],
        truth["drift"],
    )
    activity = body[1]
    chin = recording.signals["emg"].values[0]
    power = (chin[: len(chin) // 10 * 10].reshape(-1, 10) ** 2).mean(axis=1)  # 10 a second
    seen = []
    for turn_s in truth["turns_s"]:
        if not OPTIONS.film_late_s + 10 < turn_s < OPTIONS.seconds - 10:
            continue
        epoch = (turn_s - eeg.start_s) / eeg.epoch_s
        in_film = onset(activity, (film.start_s + epoch * film.epoch_s) * VIDEO.body_rate_hz)
        in_chin = onset(power, turn_s * 10)
        if in_film is not None and in_chin is not None:
            seen.append((in_film / VIDEO.body_rate_hz, in_chin / 10))
    assert seen, truth["turns_s"]
    late_film, late_chin = np.median(np.array(seen), axis=0)
    assert abs(late_film) <= 1 / FPS + 0.05  # half a sample
    assert abs(late_chin) <= 0.15


def onset(course: np.ndarray, at: float) -> float | None:
    """By how many samples a course rises after ``at``; None unless it is at rest before."""
    first = round(at) - 40
    before = course[first : first + 36]
    limit = before.mean() + 6 * before.std()
    if before.max() > 8 * np.median(before) + 1e-3 or not len(before):
        return None
    above = np.flatnonzero(course[first + 36 : first + 60] > max(limit, 1e-3))
    return float(first + 36 + above[0] - at) if len(above) else None
