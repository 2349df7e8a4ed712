"""Are offset and drift of two clocks found where there is evidence, and nowhere else?"""

import numpy as np
import pytest

from tests.sleep.align.simulated_signals import RATE_HZ, body_of, recording_of
from xdistill.sleep.align import Alignment, alignment_text, estimate_alignment
from xdistill.sleep.recordings.recording import Recording

NIGHT_S = 8 * 3600
TWO_SECONDS = 2.0 / NIGHT_S


def estimate(recording: Recording, body: np.ndarray, offset_s: float = 0.0, **options):
    return estimate_alignment(recording, body, RATE_HZ, offset_s=offset_s, **options)


def check_clocks(found: Alignment, offset_s: float, drift: float, over_s: float = NIGHT_S) -> None:
    """Within 0.2 s at both ends of the night, and within what it says of itself."""
    assert found.clear
    assert abs(found.offset_s - offset_s) < 0.1
    assert abs(found.drift - drift) * over_s < 0.2
    assert abs(found.drift - drift) < 4 * found.drift_sd
    assert found.drift_sd * over_s < 0.1
    assert 0 < found.offset_sd_s < 0.05


class TestFound:
    @pytest.mark.parametrize("sleeper", range(3))
    @pytest.mark.parametrize("drift", [TWO_SECONDS, -TWO_SECONDS])
    def test_two_seconds_a_night_by_the_belt(self, sleeper, drift):
        found = estimate(recording_of(sleeper, ("resp", "emg")), body_of(sleeper, drift=drift))
        assert found.evidence == "belt"
        assert found.correlation > 0.8
        check_clocks(found, 0.0, drift)

    @pytest.mark.parametrize("sleeper", range(3))
    @pytest.mark.parametrize("drift", [TWO_SECONDS, -TWO_SECONDS])
    def test_two_seconds_a_night_by_movement(self, sleeper, drift):
        found = estimate(recording_of(sleeper, ("emg",)), body_of(sleeper, drift=drift))
        assert found.evidence == "movement"
        check_clocks(found, 0.0, drift)

    @pytest.mark.parametrize("kind", ["resp", "emg"])
    def test_a_film_that_begins_later_than_it_says(self, kind):
        found = estimate(recording_of(0, (kind,)), body_of(0, late_s=647.3), offset_s=600)
        check_clocks(found, 647.3, 0.0)

    def test_a_film_taken_for_30_frames_a_second_with_29_97(self):
        drift = 29.97 / 30 - 1
        found = estimate(recording_of(1, ("resp",)), body_of(1, drift=drift))
        check_clocks(found, 0.0, drift)

    def test_a_film_that_begins_before_the_recording(self):
        body = body_of(0, late_s=0.0)
        before = np.full((2, 1800 * RATE_HZ), np.nan, np.float32)
        found = estimate(recording_of(0, ("resp",)), np.concatenate([before, body], axis=1), -1790)
        check_clocks(found, -1800.0, 0.0)

    def test_gaps_of_film_and_recording_are_left_out(self):
        body = body_of(1, drift=TWO_SECONDS)
        body[:, 50_000:90_000] = np.nan
        recording = recording_of(1, ("resp",))
        recording.signals["resp"].values[:, 400_000:500_000] = 0
        recording = recording._replace(gaps=((16_000.0, 20_000.0),))
        found = estimate(recording, body)
        check_clocks(found, 0.0, TWO_SECONDS)
        assert found.windows < 355

    def test_a_film_that_does_not_know_which_way_a_chest_moves(self):
        body = body_of(2)
        body[0] *= np.where(np.arange(body.shape[1]) // 6000 % 2, -1, 1)  # turns every 10 minutes
        check_clocks(estimate(recording_of(2, ("resp",)), body), 0.0, 0.0)

    def test_movement_where_the_belt_has_come_off(self):
        recording = recording_of(0, ("resp", "emg"))
        rng = np.random.default_rng(0)
        recording.signals["resp"].values[:] = rng.standard_normal((1, NIGHT_S * 25))
        found = estimate(recording, body_of(0))
        assert found.evidence == "movement"
        check_clocks(found, 0.0, 0.0)

    def test_eeg_tells_movement_where_there_is_no_emg(self):
        recording = recording_of(0, ("emg",))
        eeg = recording.signals["emg"]._replace(kind="eeg")
        found = estimate(recording._replace(signals={"eeg": eeg}), body_of(0))
        assert found.evidence == "movement"
        check_clocks(found, 0.0, 0.0)

    def test_what_was_found_in_a_sentence(self):
        found = Alignment(3.256, 0.02, 1e-4, 1e-6, 0.9, 400, "belt", True)
        text = alignment_text(found, offset_s=3)
        assert "by breathing in 400 windows the film begins 3.26 s (± 0.02)" in text
        assert "expected 3.00 s" in text
        assert "gains +0.360 s (± 0.004) an hour" in text

    def test_an_hour_is_enough_for_the_offset(self):
        found = estimate(recording_of(0, ("resp",), hours=1), body_of(0, hours=1, late_s=4.2))
        assert found.clear
        assert abs(found.offset_s - 4.2) < 0.1
        assert found.drift_sd > 1e-6  # and says that the drift is less sure

    def test_less_noise_is_more_certain(self):
        recording = recording_of(0, ("resp",))
        quiet, loud = (estimate(recording, body_of(0, noise=noise)) for noise in (0.3, 2.0))
        assert quiet.drift_sd < 0.5 * loud.drift_sd


class TestNotFound:
    """No evidence, no numbers."""

    @staticmethod
    def check_none(found: Alignment) -> None:
        assert (found.evidence, found.clear, found.windows) == ("none", False, 0)
        assert np.isnan([found.offset_s, found.offset_sd_s, found.drift, found.drift_sd]).all()

    @pytest.mark.parametrize("sleeper", range(4))
    def test_the_film_of_another_sleeper(self, sleeper):
        recording = recording_of(sleeper % 4, ("resp", "emg"), seed=sleeper)
        self.check_none(estimate(recording, body_of(4 + sleeper % 3, seed=sleeper)))

    @pytest.mark.parametrize("seed", range(3))
    def test_noise(self, seed):
        rng = np.random.default_rng(seed)
        body = rng.lognormal(size=(2, NIGHT_S * RATE_HZ)).astype(np.float32)
        self.check_none(estimate(recording_of(seed % 3, ("resp", "emg")), body))

    @pytest.mark.parametrize("value", [0.0, np.nan])
    def test_a_still_night(self, value):
        body = np.full((2, NIGHT_S * RATE_HZ), value, np.float32)
        self.check_none(estimate(recording_of(0, ("resp", "emg")), body))

    def test_a_flat_recording(self):
        recording = recording_of(0, ("resp", "emg"))
        for signal in recording.signals.values():
            signal.values[:] = 0
        self.check_none(estimate(recording, body_of(0)))

    def test_an_hour_off(self):
        found = estimate(recording_of(0, ("resp", "emg")), body_of(0), offset_s=3600)
        self.check_none(found)
        text = alignment_text(found, offset_s=3600)
        assert "no offset found within 60 s of the expected 3600 s" in text
        assert "time zone" in text

    def test_beyond_the_search(self):
        recording, body = recording_of(0, ("resp",)), body_of(0, late_s=75)
        self.check_none(estimate(recording, body))
        check_clocks(estimate(recording, body, search_s=90), 75.0, 0.0)

    def test_breathing_like_a_clock_fits_at_every_breath(self):
        recording = recording_of(0, ("resp",))
        belt = np.sin(2 * np.pi * 0.25 * np.arange(NIGHT_S * 25) / 25)
        belt = recording.signals["resp"]._replace(values=belt[None].astype(np.float32))
        rng = np.random.default_rng(0)
        t = np.arange(NIGHT_S * RATE_HZ) / RATE_HZ
        body = np.stack([np.sin(2 * np.pi * 0.25 * (t + 1.3)), t * 0])
        body += 0.1 * rng.standard_normal(body.shape)
        found = estimate(recording._replace(signals={"resp": belt}), body.astype(np.float32))
        self.check_none(found)

    def test_a_few_minutes_are_too_few(self):
        body = body_of(0)[:, : 300 * RATE_HZ]
        self.check_none(estimate(recording_of(0, ("resp", "emg")), body))

    def test_no_signal_that_tells_anything(self):
        self.check_none(estimate(recording_of(0, ()), body_of(0)))

    @pytest.mark.parametrize(
        ("options", "body", "message"),
        [
            ({"offset_s": np.nan}, np.zeros((2, 100)), "offset_s must be finite"),
            ({"search_s": 0.0}, np.zeros((2, 100)), "search_s above 0"),
            ({}, np.zeros((1, 100)), "rows 0 and 1"),
        ],
    )
    def test_refused(self, options, body, message):
        with pytest.raises(ValueError, match=message):
            estimate(recording_of(0, ()), body.astype(np.float32), **options)
