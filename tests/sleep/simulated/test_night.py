"""Simulated nights as files: is what other programs read in them what was simulated?"""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest

from xdistill.data.simulation.nights import generators
from xdistill.data.simulation.sample import SampleConfig
from xdistill.sleep.simulated import NightFiles, NightOptions, write_simulated_night
from xdistill.sleep.simulated.films import film, frame_times, night_times
from xdistill.sleep.simulated.scene import Scene, draw_scene
from xdistill.sleep.simulated.signals import record

av = pytest.importorskip("av")
edfio = pytest.importorskip("edfio")
pytest.importorskip("cv2")

OPTIONS = NightOptions(
    hours=0.1,
    condensed=True,
    sleeper=3,
    width=128,
    height=96,
    film_late_s=7.25,
    film_drift=1e-3,
    film_start_error_s=100,
    dark_s=(60, 65),
    colour_s=(90, 95),
    gap_s=(120, 130),
    flat_s=(30, 50),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> NightFiles:
    return write_simulated_night(tmp_path_factory.mktemp("night"), "a", OPTIONS)


@pytest.fixture(scope="module")
def truth(files) -> dict:
    return json.loads(files.truth.read_text())


def scene_of(options: NightOptions) -> Scene:
    sleep_rng, _, video_rng = generators(options.seed, options.sleeper)
    return draw_scene(sleep_rng, video_rng, options)


def decoded(path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, grey pictures, and how far from grey their colours are, of all frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = np.array([float(frame.pts * frame.time_base) for frame in frames])
    planes = np.stack([frame.to_ndarray() for frame in frames]).astype(np.float32)  # yuv420p
    height = frames[0].height
    colour = np.abs(planes[:, height:] - 128).mean(axis=(1, 2))
    return times, (planes[:, :height] - 16) * 255 / 219, colour


class TestRecording:
    def test_signals_rates_units_and_start(self, files):
        edf = edfio.read_edf(files.eeg)
        rates = {signal.label: signal.sampling_frequency for signal in edf.signals}
        assert rates == {
            "EEG C4-M1": 256,
            "EEG F4-M1": 256,
            "EEG O2-M1": 256,
            "EOG E1-M2": 256,
            "EOG E2-M2": 256,
            "EMG chin": 256,
            "Resp thorax": 25,
        }
        assert {signal.physical_dimension for signal in edf.signals} == {"uV"}
        assert datetime.combine(edf.startdate, edf.starttime) == OPTIONS.start
        assert edf.duration == OPTIONS.seconds == 360
        assert edf.patient.name == edf.patient.code == "X"
        assert files.eeg.read_bytes()[192:197] == b"EDF+C"

    def test_amplitudes_are_those_of_people(self, files):
        edf = edfio.read_edf(files.eeg)
        spread = {signal.label: signal.data.std() for signal in edf.signals}
        assert all(8 < spread[f"EEG {each}"] < 60 for each in ("F4-M1", "O2-M1"))
        assert 2 < spread["EMG chin"] < 60
        assert all(np.isfinite(signal.data).all() for signal in edf.signals)

    def test_the_flat_stretch(self, files):
        eeg = edfio.read_edf(files.eeg).get_signal("EEG C4-M1").data
        assert np.ptp(eeg[31 * 256 : 49 * 256]) < 0.1
        assert np.ptp(eeg[51 * 256 : 60 * 256]) > 20

    def test_the_belt_breathes_at_the_true_rate(self, files, truth):
        belt = edfio.read_edf(files.eeg).get_signal("Resp thorax").data.reshape(-1, 30 * 25)
        hz = np.fft.rfftfreq(8 * 750, 1 / 25)
        centred = (belt - belt.mean(axis=1, keepdims=True)) * np.hanning(750)
        peak = hz[np.abs(np.fft.rfft(centred, 8 * 750, axis=1)).argmax(axis=1)] * 60
        true = np.array([epoch["breathing_rate"] for epoch in truth["epochs"]])
        regular = np.array([epoch["breathing_spread"] < 0.06 for epoch in truth["epochs"]])
        assert regular.sum() >= 3
        np.testing.assert_allclose(peak[regular], true[regular], atol=0.8)

    def test_waves_go_on_from_epoch_to_epoch(self):
        options = NightOptions(hours=0.5, from_hour=1, eeg_hz=100)
        eeg = record(np.random.default_rng(0), scene_of(options), options)[0].values
        steps = np.abs(np.diff(eeg))
        at_borders = steps[2999::3000]
        assert np.median(at_borders) < 2 * np.median(steps)

    def test_the_chin_is_tense_where_the_sleeper_moves(self):
        options = NightOptions(hours=1, from_hour=0, eeg_hz=100)
        scene = scene_of(options)
        chin = record(np.random.default_rng(0), scene, options)[5].values
        power = (chin.reshape(-1, 100) ** 2).mean(axis=1)
        moving = scene.movement(np.arange(options.seconds) + 0.5)
        assert np.median(power[moving > 0.1]) > 4 * np.median(power[moving < 0.02])

    def test_a_night_without_belt(self):
        options = NightOptions(hours=0.02, belt=False)
        labels = [t.label for t in record(np.random.default_rng(0), scene_of(options), options)]
        assert labels[-1] == "EMG chin"


class TestHypnogram:
    def test_an_annotation_for_each_epoch(self, files, truth):
        edf = edfio.read_edf(files.hypnogram)
        assert datetime.combine(edf.startdate, edf.starttime) == OPTIONS.start
        found = [(each.onset, each.duration, each.text) for each in edf.annotations]
        names = [epoch["stage"].replace("REM", "R") for epoch in truth["epochs"]]
        expected = [(30 * at, 30, f"Sleep stage {name}") for at, name in enumerate(names)]
        assert found == expected

    def test_the_whole_night_is_that_of_the_sample(self):
        from xdistill.data.simulation.hypnogram import simulate_night

        scene = scene_of(NightOptions(sleeper=4))
        sleep_rng, _, _ = generators(SampleConfig().seed, 4)
        expected = simulate_night(sleep_rng, 960).stage
        np.testing.assert_array_equal(scene.night.stage[1:-1], expected)
        assert set(expected) == {0, 1, 2, 3, 4}

    def test_a_condensed_night_has_all_stages(self):
        scene = scene_of(NightOptions(hours=0.25, condensed=True))
        assert set(scene.night.stage) == {0, 1, 2, 3, 4}

    def test_none_if_it_is_not_wanted(self, tmp_path):
        options = NightOptions(hours=0.01, hypnogram=False)
        assert write_simulated_night(tmp_path, "b", options).hypnogram is None
        assert not list(tmp_path.glob("*hypnogram*"))


class TestFilm:
    def test_size_times_and_start(self, files):
        times, grey, _ = decoded(files.film)
        assert grey.shape[1:] == (96, 128)
        expected = frame_times(np.random.default_rng(0), OPTIONS)
        np.testing.assert_allclose(times, expected, atol=1e-4)
        length_s = (360 - 7.25) * 1.001
        assert times[-1] + 0.2 == pytest.approx(length_s, abs=0.2)
        with av.open(str(files.film)) as container:
            stated = datetime.fromisoformat(container.metadata["creation_time"])
        local = stated.astimezone().replace(tzinfo=None)
        assert local == OPTIONS.start + timedelta(seconds=107)  # MP4 holds full seconds

    def test_dark_colour_and_gap_are_where_they_were_asked_for(self, files):
        times, grey, chroma = decoded(files.film)
        night = night_times(times, OPTIONS)
        dark = (night >= 60) & (night < 65)
        assert grey[dark].mean(axis=(1, 2)).max() < 8 < grey[~dark].mean(axis=(1, 2)).min()
        colour = (night >= 90) & (night < 95)
        assert chroma[colour].min() > 9 > 2 * chroma[~colour].max()
        assert not ((night >= 120) & (night < 130)).any()
        assert np.diff(times).max() == pytest.approx(10 * 1.001, abs=0.41)

    @pytest.mark.parametrize(
        ("film", "codec", "variable"),
        [("mkv", "mpeg4", True), ("mp4", "libx264", True), ("mkv", "libx264", False)],
    )
    def test_containers_codecs_and_rates(self, tmp_path, film, codec, variable):
        options = NightOptions(
            hours=1 / 60, film=film, codec=codec, variable_rate=variable, fps=12.5, height=64
        )
        path = write_simulated_night(tmp_path, "c", options).film
        times, grey, _ = decoded(path)
        rng = generators(options.seed, options.sleeper)[2]
        draw_scene(generators(options.seed, options.sleeper)[0], rng, options)
        np.testing.assert_allclose(times, frame_times(rng, options), atol=1.1e-3)
        steps = np.diff(times)
        assert steps.min() > 0
        assert (np.ptp(steps) > 0.05) == variable
        assert grey.std() > 5

    def test_each_frame_shows_the_moment_it_says(self, files):
        """Within one frame: the film fits the scene best at its own times, clock and all."""
        times, grey, _ = decoded(files.film)
        scene = scene_of(OPTIONS)
        moving = scene.movement(night_times(times, OPTIONS)) > 0.1
        clear = moving & (grey.mean(axis=(1, 2)) > 20)
        chosen = np.flatnonzero(clear)
        assert len(chosen) > 20
        small = grey.reshape(len(grey), 48, 2, 64, 2).mean(axis=(2, 4))[chosen]
        errors = {}
        for late_s in (-0.4, -0.2, 0.0, 0.2, 0.4):
            t = night_times(times[chosen], OPTIONS) + late_s
            drawn = np.concatenate([scene.frames(t[at : at + 1], (48, 64)) for at in range(len(t))])
            errors[late_s] = float(np.abs(np.clip(drawn, 0, 255) - small).mean())
        assert min(errors, key=lambda late_s: errors[late_s]) == 0.0, errors

    def test_the_film_breathes_as_the_belt_does(self):
        options = NightOptions(hours=0.05, from_hour=1.5, sleeper=1, film_late_s=-3.0)
        scene = scene_of(options)
        frames = list(film(np.random.default_rng(0), scene, options))
        pictures = np.stack([frame.picture[:96].astype(np.float32) for frame in frames])
        pictures = pictures.reshape(len(frames), 24, 4, 24, 4).mean(axis=(2, 4))
        t = night_times(np.array([frame.time_s for frame in frames]), options)
        belt = record(np.random.default_rng(0), scene, options)[-1]
        during = (t >= 0) & (t < 170) & (scene.movement(t) < 0.02)
        course = pictures[during].reshape(during.sum(), -1)
        course = np.linalg.svd(course - course.mean(axis=0), full_matrices=False)[0][:, 0]
        stretch = belt.values[np.round(t[during] * 25).astype(int)]
        assert abs(np.corrcoef(course, stretch)[0, 1]) > 0.9


class TestTruth:
    def test_clocks_and_epochs(self, truth):
        assert (truth["offset_s"], truth["drift"]) == (7.25, 1e-3)
        assert len(truth["epochs"]) == 12
        assert all(8 < epoch["breathing_rate"] < 25 for epoch in truth["epochs"])
        inside = [turn for turn in truth["turns_s"] if 0 <= turn < 360]
        assert sum(epoch["position_changes"] for epoch in truth["epochs"]) == len(inside)

    def test_regular_in_deep_sleep_irregular_in_rem(self):
        from xdistill.sleep.simulated.truth import _epoch

        scene = scene_of(NightOptions(hours=8))
        spread = np.array([_epoch(scene, 30.0 * at)["breathing_spread"] for at in range(960)])
        stage = scene.night.stage[1:-1]
        assert np.median(spread[stage == 3]) < 0.5 * np.median(spread[stage == 4])

    def test_the_same_options_give_the_same_files(self, files, tmp_path):
        again = write_simulated_night(tmp_path, "a", OPTIONS)
        for one, other in zip(files, again, strict=True):
            assert one.read_bytes() == other.read_bytes()

    def test_another_sleeper_is_another_night(self):
        one, other = (scene_of(NightOptions(hours=0.5, sleeper=at)) for at in (0, 1))
        assert one.body.rate_per_min != other.body.rate_per_min


class TestRefusals:
    def test_files_that_are_there(self, files):
        with pytest.raises(FileExistsError, match="choose another name"):
            write_simulated_night(files.eeg.parent, "a", OPTIONS)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"hours": 0.0}, "hours must be from"),
            ({"hours": 8, "from_hour": 1}, "has 8 hours"),
            ({"width": 97}, "width and height even"),
            ({"film_drift": 0.1}, "film_drift must be"),
            ({"hours": 0.1, "film_late_s": 400}, "film would have -40 s"),
        ],
    )
    def test_options_that_make_no_night(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            NightOptions(**wrong)
