"""Breathing, movement and position of a rendered sleeper, against what was rendered."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from tests.sleep.films.beds import Bed, irregular, pictures, regular, write_bed
from xdistill.sleep.body.breaths import breaths_of
from xdistill.sleep.body.features import BODY_FEATURES
from xdistill.sleep.films.epochs import VideoEpoch, camera_epochs, film_epochs
from xdistill.sleep.video_options import VideoOptions

OPTIONS = VideoOptions(frames=2, size=16)


def watch(bed: Bed, seconds: float = 60.2, rate_hz: float = 10) -> list[VideoEpoch]:
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    return list(camera_epochs(zip(times, pictures(bed, times), strict=True), OPTIONS))


def bed(breaths_s=(), **changes) -> Bed:
    return Bed(breaths_s, **{"size": (160, 120), "rise_px": 0.3, **changes})


@pytest.mark.parametrize("rate", [12, 15, 18])
def test_the_rate_is_that_of_the_chest_that_moves_less_than_a_pixel(rate):
    for epoch in watch(bed(regular(rate, 60))):
        assert epoch.features.breathing_rate == pytest.approx(rate, abs=0.5)
        assert epoch.features.breathing_regularity > 0.93
        assert epoch.features.breathing_quality > 0.7
        assert not epoch.marks


def test_the_waveform_is_the_chests_course():
    _, epoch = watch(bed(regular(13, 60)))
    at = 30 + (np.arange(300) + 0.5) / 10
    chest = np.cos(2 * np.pi * 13 / 60 * (at + 60 / 13))
    inside = slice(20, -20)  # a filter sees nothing beyond the end
    assert abs(np.corrcoef(epoch.body[0, inside], chest[inside])[0, 1]) > 0.95


def test_the_rate_comes_through_a_coded_film(tmp_path):
    times = np.arange(605) / 10
    write_bed(tmp_path / "a.mp4", bed(regular(16, 60), rise_px=0.4), times, rate=10)
    for epoch in film_epochs(tmp_path / "a.mp4", OPTIONS):
        assert epoch.features.breathing_rate == pytest.approx(16, abs=0.5)


def test_irregular_breathing_is_told_from_regular():
    even = watch(bed(regular(15, 60)))[1].features
    uneven = watch(bed(irregular(15, 60, 0.25)))[1].features
    assert even.breathing_regularity > 0.93 and uneven.breathing_regularity < 0.9
    assert uneven.breathing_quality > 0.7


def test_deeper_breaths_have_a_larger_amplitude():
    shallow, deep = (
        watch(bed(regular(15, 60), rise_px=rise))[1].features.breathing_amplitude
        for rise in (0.3, 0.6)
    )
    assert deep / shallow == pytest.approx(2, abs=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_no_rate_is_told_of_a_bed_in_which_nobody_breathes(seed):
    for epoch in watch(bed(seed=seed)):
        assert np.isnan(epoch.features.breathing_rate)
        assert np.isnan(epoch.features.breathing_amplitude)
        assert epoch.features.breathing_quality < 0.3


def test_no_rate_is_told_of_a_body_that_moves_all_the_time():
    restless = bed(turns_s=list(np.arange(0.5, 60, 2.3)))
    for epoch in watch(restless):
        assert np.isnan(epoch.features.breathing_rate)
        assert epoch.features.activity > 5


def test_a_movement_leaves_the_breathing_around_it_and_counts_as_a_change_of_position():
    quiet, turned = watch(bed(regular(15, 60))), watch(bed(regular(15, 60), turns_s=[42.0]))
    assert [epoch.features.position_changes for epoch in turned] == [0, 1]
    assert turned[1].features.activity > 5 * quiet[1].features.activity
    assert turned[1].features.breathing_rate == pytest.approx(15, abs=0.7)
    assert 0.5 < turned[1].features.breathing_quality < quiet[1].features.breathing_quality
    course = turned[1].body[1]
    assert course[120:140].mean() > 10 * course[:110].mean()  # it moves from 12 to 14 s


def test_a_twitch_that_ends_where_it_began_is_no_change_of_position():
    def twitch(at, picture):
        if not 40 < at < 40.6:
            return picture
        moved = picture.copy()
        moved[60:80, 60:90] = np.roll(picture[60:80, 60:90], 5, axis=1)
        return moved

    still, one = watch(bed(event=twitch))
    assert one.features.position_changes == 0
    assert one.features.activity > still.features.activity
    assert one.body[1].argmax() in range(98, 108)


def test_activity_lies_in_the_block_that_moves():
    def corner(at, picture):
        moved = picture.copy()
        if 40 < at < 45:
            moved[:25, :35] = np.roll(picture[:25, :35], int(at * 10) % 7, axis=1)
        return moved

    _, one = watch(bed(event=corner))
    blocks = one.body[2:].mean(axis=1)
    assert OPTIONS.body_channels[2 + int(blocks.argmax())] == "activity_0_0"


def test_frames_that_were_dropped_do_not_look_like_movement():
    times = np.arange(602) / 10
    kept = [number for number in range(602) if (number % 50) not in (20, 21, 22, 23)]
    frames = list(zip(times, pictures(bed(regular(15, 60)), times), strict=True))
    whole = list(camera_epochs(frames, OPTIONS))
    dropped = list(camera_epochs([frames[number] for number in kept], OPTIONS))
    for one, other in zip(whole, dropped, strict=True):
        assert other.features.activity < one.features.activity + 0.2
        assert other.features.breathing_rate == pytest.approx(15, abs=0.5)


def test_a_slow_film_gives_the_same_rate():
    for epoch in watch(bed(regular(14, 60)), rate_hz=5):
        assert epoch.features.breathing_rate == pytest.approx(14, abs=0.6)


def test_breaths_are_counted_between_movements_alone():
    at = np.arange(600) / 10
    wave = np.sin(2 * np.pi * 0.2 * at)
    still = np.ones(600, bool)
    found = breaths_of(wave, still, 10)
    assert found.rate == pytest.approx(12, abs=0.1)
    assert found.regularity > 0.98 and found.amplitude == pytest.approx(2, abs=0.1)
    assert np.isnan(breaths_of(wave, ~still, 10).rate)
    assert np.isnan(breaths_of(np.zeros(600), still, 10).rate)


def test_the_features_are_named_in_their_order():
    assert BODY_FEATURES[:3] == ("activity", "position_changes", "breathing_rate")
