"""The embedded sample: is the simulated sleep like sleep, and is the folder always whole?"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xdistill.data.files.clips import read_clip
from xdistill.data.simulation.eeg import SFREQ_HZ, render_eeg
from xdistill.data.simulation.elsewhere import GAIN, NOISE_UV, record_elsewhere
from xdistill.data.simulation.hypnogram import simulate_night
from xdistill.data.simulation.infrared import draw_body, draw_pose, film_clip
from xdistill.data.simulation.sample import SampleConfig, default_root, generate, is_complete
from xdistill.data.sleep_stages import N1, N2, N3, REM, STAGES, W

TINY = SampleConfig(subjects=4, teacher_subjects=2, clips_per_night=12)
MIDDLE_DEPTH = {W: 0.0, N1: 0.12, N2: 0.4, N3: 0.85, REM: 0.0}


@pytest.fixture(scope="module")
def nights():
    return [simulate_night(np.random.default_rng(seed)) for seed in range(20)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("sample") / "s3ve", TINY, workers=1)


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def microstates(stage: int, epochs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs that are purely one stage, without arousals."""
    shape = (epochs, 6)
    depth = np.full(shape, MIDDLE_DEPTH[stage], np.float32)
    return np.full(shape, stage, np.int8), depth, np.zeros(shape, np.float32)


def pure_eeg(stage: int, seed: int = 0) -> np.ndarray:
    """[40, 3000] µV: 10 epochs of each of four sleepers."""
    return np.concatenate(
        [
            render_eeg(np.random.default_rng([seed, sleeper]), *microstates(stage, 10))
            for sleeper in range(4)
        ]
    )


def band_power(eeg: np.ndarray, low_hz: float, high_hz: float) -> float:
    """µV², the mean over the epochs."""
    hz = np.fft.rfftfreq(eeg.shape[1], 1 / SFREQ_HZ)
    power = 2 * np.abs(np.fft.rfft(eeg, axis=1)) ** 2 / eeg.shape[1] ** 2
    return float(power[:, (hz >= low_hz) & (hz < high_hz)].sum(axis=1).mean())


class TestHypnogram:
    def test_shares_of_the_stages_are_those_of_adults(self, nights):
        shares = np.mean([np.bincount(n.stage, minlength=5) for n in nights], axis=0) / 960
        low = np.array([0.07, 0.04, 0.38, 0.15, 0.16])
        high = np.array([0.15, 0.09, 0.50, 0.23, 0.24])
        assert (shares > low).all(), dict(zip(STAGES, shares, strict=True))
        assert (shares < high).all(), dict(zip(STAGES, shares, strict=True))

    def test_deep_sleep_comes_early_and_rem_late(self, nights):
        stages = np.stack([night.stage for night in nights])
        early, late = stages[:, :320], stages[:, 640:]
        assert (early == N3).mean() > 4 * (late == N3).mean()
        assert (late == REM).mean() > 2 * (early == REM).mean()

    def test_rem_returns_after_about_ninety_minutes(self, nights):
        first = [np.flatnonzero(night.stage == REM)[0] - asleep(night.stage) for night in nights]
        assert 60 < np.median(first) * 0.5 < 110  # epochs to minutes

    def test_a_night_begins_awake_and_is_broken_by_awakenings(self, nights):
        for night in nights:
            assert (night.stage[:4] == W).all()
            assert 3 <= asleep(night.stage) * 0.5 <= 45
            awake = (night.stage[asleep(night.stage) :] == W).astype(int)
            assert (np.diff(awake) == 1).sum() >= 2

    def test_most_epochs_are_pure_and_the_scorer_errs_at_borders(self, nights):
        for night in nights[:10]:
            pure = (night.state == night.state[:, :1]).all(axis=1)
            right = night.stage == night.state[:, 3]
            assert pure.mean() > 0.7
            assert right[pure].mean() > 0.88
            assert right[~pure].mean() < right[pure].mean()

    def test_arousals_fall_on_sleep(self, nights):
        for night in nights[:10]:
            assert (night.state[night.arousal > 0] != W).all()
            assert not night.depth[(night.state == W) | (night.state == REM)].any()


def asleep(stage: np.ndarray) -> int:
    return int(np.flatnonzero(stage != W)[0])


class TestEeg:
    def test_alpha_marks_wakefulness(self):
        alpha = {stage: band_power(pure_eeg(stage), 8.5, 11) for stage in (W, N1, REM)}
        assert alpha[W] > 2 * max(alpha[N1], alpha[REM])

    def test_spindles_mark_n2(self):
        sigma = {stage: band_power(pure_eeg(stage), 12, 15) for stage in (N1, N2, REM)}
        assert sigma[N2] > 1.5 * max(sigma[N1], sigma[REM])

    def test_slow_waves_fill_more_than_a_fifth_of_n3(self):
        delta = {stage: band_power(pure_eeg(stage), 0.5, 2) for stage in range(5)}
        assert delta[N3] > 3 * max(delta[stage] for stage in (W, N1, N2, REM))
        assert slow_wave_share(pure_eeg(N3)) > 0.2
        assert slow_wave_share(pure_eeg(N2)) < 0.2

    def test_theta_leads_alpha_in_n1(self):
        eeg = pure_eeg(N1)
        assert band_power(eeg, 4, 7) > 2 * band_power(eeg, 8.5, 11.5)

    def test_amplitudes_are_microvolts(self):
        for stage in range(5):
            eeg = pure_eeg(stage)
            assert eeg.shape == (40, 3000)
            assert eeg.dtype == np.float32
            assert np.isfinite(eeg).all()
            assert 5 < eeg.std() < 60
            assert np.abs(eeg).max() < 500

    def test_an_arousal_adds_fast_activity(self):
        state, depth, arousal = microstates(N2, 20)
        quiet = render_eeg(np.random.default_rng(1), state, depth, arousal)
        arousal[:, 2] = 0.9
        roused = render_eeg(np.random.default_rng(1), state, depth, arousal)
        assert band_power(roused, 25, 45) > 2 * band_power(quiet, 25, 45)


class TestElsewhere:
    def test_another_recorder_changes_gain_noise_and_high_frequencies(self):
        eeg = pure_eeg(N2)
        other = record_elsewhere(np.random.default_rng(0), eeg)
        assert other.shape == eeg.shape and other.dtype == np.float32
        slow, fast = ((other, 0.5, 4), (eeg, 0.5, 4)), ((other, 40, 49), (eeg, 40, 49))
        gain = band_power(*slow[0]) / band_power(*slow[1])
        assert gain == pytest.approx(GAIN**2, rel=0.05)
        assert band_power(*fast[0]) < 0.6 * (GAIN**2 * band_power(*fast[1]) + NOISE_UV**2 * 0.18)

    def test_silence_is_recorded_as_noise(self):
        silence = record_elsewhere(np.random.default_rng(0), np.zeros((5, 3000), np.float32))
        assert 0.7 * NOISE_UV < silence.std() < NOISE_UV


def slow_wave_share(eeg: np.ndarray) -> float:
    """Share of seconds whose 0.5-2 Hz part spans more than 75 µV within two seconds."""
    hz = np.fft.rfftfreq(eeg.shape[1], 1 / SFREQ_HZ)
    spectrum = np.fft.rfft(eeg, axis=1) * ((hz >= 0.5) & (hz <= 2))
    slow = np.fft.irfft(spectrum, eeg.shape[1], axis=1).reshape(len(eeg), 15, 200)
    return float((np.ptp(slow, axis=2) > 75).mean())


def film(stage: int, seed: int, *, clips: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    body = draw_body(rng)
    pose = draw_pose(rng, body)
    state, depth, arousal = (part[0] for part in microstates(stage, 1))
    return np.stack([film_clip(rng, body, pose, pose, state, depth, arousal) for _ in range(clips)])


def breath_course(clip: np.ndarray) -> np.ndarray:
    """[30], the strongest common course of the pixels."""
    pixels = clip.reshape(len(clip), -1).astype(float)
    pixels -= pixels.mean(axis=0)
    return np.linalg.svd(pixels, full_matrices=False)[0][:, 0]


class TestInfrared:
    def test_the_breathing_rate_is_in_the_pixels(self):
        errors = []
        for seed in range(12):
            body = draw_body(np.random.default_rng(seed))
            clip = film(N3, seed)[0]
            course = breath_course(clip)
            spectrum = np.abs(np.fft.rfft(course - course.mean(), 300))  # 0.2 per minute
            found_per_min = spectrum[30:].argmax() * 0.2 + 6
            errors.append(abs(found_per_min - 0.95 * body.rate_per_min))
        assert np.median(errors) < 1.5, errors

    def test_breathing_is_most_regular_in_deep_sleep(self):
        def regularity(stage: int) -> float:
            peaks = []
            for seed in range(20):
                spectrum = np.abs(np.fft.rfft(breath_course(film(stage, seed)[0]))) ** 2
                peaks.append(spectrum[2:].max() / spectrum[1:].sum())
            return float(np.mean(peaks))

        assert regularity(N3) > regularity(N2) > regularity(REM)

    def test_movement_falls_from_wakefulness_to_deep_sleep(self):
        def movement(stage: int) -> float:
            clips = np.concatenate([film(stage, seed, clips=3) for seed in range(20)]).astype(float)
            return float(np.abs(np.diff(clips, axis=1)).mean())

        assert movement(W) > 1.05 * movement(REM) > 1.05 * movement(N3)

    def test_the_picture_itself_does_not_tell_the_stage(self):
        """The median picture of one pose differs by less than the sleepers do."""
        pictures = np.array(
            [
                [np.median(film(stage, seed, clips=4), axis=(0, 1)) for stage in (N1, N2, N3, REM)]
                for seed in range(10)
            ]
        )  # [sleepers, stages, h, w]
        between_stages = pictures.mean(axis=0).std(axis=0).mean()
        between_sleepers = pictures.mean(axis=1).std(axis=0).mean()
        assert between_stages < 0.05 * between_sleepers

    def test_clips_are_grey_and_use_the_range(self):
        clips = np.concatenate([film(N2, seed) for seed in range(10)])
        assert clips.shape == (10, 30, 48, 48)
        assert clips.dtype == np.uint8
        assert clips.std() > 20
        assert (clips == 255).mean() < 0.05


class TestFolder:
    def test_layout(self, tiny):
        content = json.loads((tiny / "s3ve.json").read_text())
        assert content["labels"] == list(STAGES)
        assert len(content["database"]) == 48
        for clip_id, entry in content["database"].items():
            label = entry["annotations"]["label"]
            assert entry["annotations"]["segment"] == [1, 31]
            eeg = np.load(tiny / "eeg" / label / f"{clip_id}.npy")
            assert eeg.shape == (3000,)
            assert eeg.dtype == np.float32
            assert (tiny / "video" / label / f"{clip_id}.hdf5").is_file()
        clip = read_clip(tiny / "video" / label / f"{clip_id}.hdf5")
        assert clip.shape == (1, 30, 48, 48)

    def test_sleepers_elsewhere_have_a_folder_of_their_own_and_no_film(self, tiny):
        here = json.loads((tiny / "s3ve.json").read_text())["database"]
        there = json.loads((tiny / "elsewhere" / "s3ve.json").read_text())["database"]
        assert Counter(entry["subject"] for entry in there.values()) == {"e01": 12, "e02": 12}
        assert not {one["subject"] for one in here.values()} & {"e01", "e02"}
        for clip_id, entry in there.items():
            path = tiny / "elsewhere" / "eeg" / entry["annotations"]["label"] / f"{clip_id}.npy"
            assert np.load(path).shape == (3000,)
        assert not (tiny / "elsewhere" / "video").exists()

    def test_sleepers_elsewhere_change_nothing_of_the_others(self, tiny, tmp_path):
        alone = SampleConfig(subjects=4, teacher_subjects=0, clips_per_night=12)
        files = files_of(generate(tmp_path / "alone", alone, workers=2))
        whole = files_of(tiny)
        assert {name for name in whole if name not in files} == {
            name for name in whole if name.startswith("elsewhere/eeg/")
        }
        assert all(files[name] == whole[name] for name in files if name.endswith((".npy", ".hdf5")))
        assert files["s3ve.json"] == whole["s3ve.json"]

    def test_no_two_sleepers_are_the_same(self, tiny):
        courses = {
            folder: [
                (entry["subject"], entry["annotations"]["label"])
                for entry in json.loads((folder / "s3ve.json").read_text())["database"].values()
            ]
            for folder in (tiny, tiny / "elsewhere")
        }
        nights = Counter()
        for pairs in courses.values():
            for subject in {one for one, _ in pairs}:
                nights[tuple(label for one, label in pairs if one == subject)] += 1
        assert len(nights) == 6

    def test_subsets_share_no_sleeper(self, tiny):
        database = json.loads((tiny / "s3ve.json").read_text())["database"].values()
        pairs = {(entry["subject"], entry["subset"]) for entry in database}
        assert len(pairs) == 4
        assert Counter(subset for _, subset in pairs) == {
            "training": 2,
            "validation": 1,
            "testing": 1,
        }

    def test_the_full_size_splits_12_4_4(self):
        assert Counter(map(SampleConfig().subset, range(20))) == {
            "training": 12,
            "validation": 4,
            "testing": 4,
        }

    def test_clips_follow_the_night(self, tiny):
        database = json.loads((tiny / "s3ve.json").read_text())["database"].values()
        times = [entry["night_s"] for entry in database if entry["subject"] == "s01"]
        assert times == [2400 * at for at in range(12)]  # 40 minutes apart

    def test_the_same_bytes_twice_and_with_a_second_process(self, tiny, tmp_path):
        again = generate(tmp_path / "again", TINY, workers=2)
        assert files_of(again) == files_of(tiny)

    def test_another_seed_gives_another_sample(self, tiny, tmp_path):
        other = SampleConfig(seed=1, subjects=4, teacher_subjects=2, clips_per_night=12)
        assert not is_complete(tiny, other)
        assert files_of(generate(tmp_path / "other", other, workers=1)) != files_of(tiny)

    def test_a_complete_sample_is_reused(self, tiny):
        before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
        assert generate(tiny, TINY) == tiny
        assert before == {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}

    def test_a_killed_generation_leaves_no_sample_and_is_made_good(self, tiny, tmp_path):
        root = tmp_path / "s3ve"
        script = (
            "import sys; from xdistill.data.simulation.sample import *; "
            "generate(sys.argv[1], SampleConfig(subjects=4, teacher_subjects=2, "
            "clips_per_night=12), workers=1)"
        )
        repository = str(Path(__file__).parents[3])
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(root)], env={**os.environ, "PYTHONPATH": repository}
        )
        while process.poll() is None and not any(tmp_path.glob("s3ve.partial-*/video/*/*")):
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert not root.exists()
        (left,) = tmp_path.glob("s3ve.partial-*")
        os.utime(left, (0, 0))  # as if it had been killed yesterday
        assert files_of(generate(root, TINY, workers=1)) == files_of(tiny)
        assert list(tmp_path.iterdir()) == [root]

    def test_a_failed_generation_cleans_up(self, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError("disk full")

        monkeypatch.setattr("xdistill.data.simulation.nights.write_clip", fail)
        with pytest.raises(OSError, match="disk full"):
            generate(tmp_path / "s3ve", TINY, workers=1)
        assert not list(tmp_path.iterdir())

    def test_a_sample_of_another_version_is_not_taken_for_this_one(self, tiny, monkeypatch):
        assert json.loads((tiny / "s3ve.json").read_text())["labels"][-1] == "REM"
        for module in ("config", "sample"):  # version 1 said "R" instead
            monkeypatch.setattr(f"xdistill.data.simulation.{module}.VERSION", 1)
        assert not is_complete(tiny, TINY)
        with pytest.raises(ValueError, match="not the S3VE sample of version 1"):
            generate(tiny, TINY)

    def test_a_foreign_folder_is_not_touched(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match="exists and is not the S3VE sample"):
            generate(tmp_path, TINY)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_the_cache_folder_can_be_chosen(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDISTILL_CACHE", str(tmp_path))
        assert default_root() == tmp_path / "s3ve_sample-v3"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"subjects": 2}, "at least 3 subjects"),
            ({"teacher_subjects": -1}, "0 or more, got -1"),
            ({"clips_per_night": 0}, "1 to 960 clips"),
            ({"clips_per_night": 961}, "1 to 960 clips"),
        ],
    )
    def test_impossible_sizes(self, options, message):
        with pytest.raises(ValueError, match=message):
            SampleConfig(**options)


def test_a_flipped_bit_in_any_file_of_a_sample_is_noticed(tmp_path):
    """Of 24 arrays with a flipped bit none was noticed."""
    config = SampleConfig(subjects=3, teacher_subjects=1, clips_per_night=4)
    root = generate(tmp_path / "sample", config, workers=1)
    draw = np.random.default_rng(0)
    for path in sorted(root.rglob("*.npy")) + sorted(root.rglob("*.hdf5")) + [root / "s3ve.json"]:
        whole = path.read_bytes()
        at, bit = draw.integers(len(whole)), draw.integers(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=f"1 files of the sample .*{path.name}.*delete"):
            generate(root, config)
        path.write_bytes(whole)
    assert generate(root, config) == root
