"""Epochs that are cut again from a decoded film: each picture from its own time."""

import numpy as np
import pytest

from xdistill.sleep.body.features import BODY_FEATURES
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.prepare.spool import Film, Spool, course, cut
from xdistill.sleep.video_options import VideoOptions

OPTIONS = VideoOptions(frames=10, size=8, grid=1)


@pytest.fixture
def film() -> Film:
    """Six epochs whose values tell their film time: pictures in half seconds, the body in s."""
    grid = Grid(-30.0, 6)
    times = -30 + (np.arange(6 * 30) + 0.5)  # pictures are 1 s apart
    clips = np.repeat(np.rint(times + 30).astype(np.uint8), 64).reshape(6, 30, 8, 8)
    body = -30 + (np.arange(6 * 300) + 0.5) / 10
    body = np.repeat(body.reshape(6, 1, 300), 3, axis=1).astype(np.float32)
    features = np.repeat(np.arange(6.0)[:, None], len(BODY_FEATURES), axis=1).astype(np.float32)
    return Film(grid, OPTIONS, 3, clips, body, features, [frozenset()] * 6)


def test_epochs_in_their_own_place_are_as_they_were(film):
    for number in range(4):
        epoch = cut(film, Grid(0.0, 4), number)
        assert epoch.clip is not None and epoch.body is not None and epoch.features is not None
        np.testing.assert_array_equal(epoch.clip, film.clips[number + 1, 1::3])
        np.testing.assert_array_equal(epoch.body, film.body[number + 1])
        assert epoch.features == (number + 1,) * len(BODY_FEATURES)


@pytest.mark.parametrize("start_s", [-29.7, -4.2, 0.3, 7.0, 22.0, 29.6])
@pytest.mark.parametrize("drift", [0.0, 3e-4, -3e-4])
def test_moved_epochs_have_the_nearest_picture(film, start_s, drift):
    grid = Grid(start_s, 4, drift)
    for number in range(4):
        epoch = cut(film, grid, number)
        assert epoch.clip is not None and epoch.body is not None and epoch.features is not None
        begin, length = grid.start_of(number), grid.epoch_s
        wanted = begin + (np.arange(10) + 0.5) / 10 * length
        assert abs(epoch.clip[:, 0, 0].astype(float) - 30 - wanted).max() <= 1.01
        samples = begin + (np.arange(300) + 0.5) / 300 * length
        assert abs(epoch.body[0] - samples).max() <= 0.051
        assert epoch.features.activity == pytest.approx((begin + 30) / 30, abs=0.001)
        assert epoch.features.position_changes == round((begin + 30) / 30)


def test_marks_and_missing_pictures(film):
    marks = [*film.marks]
    marks[1] = frozenset({Mark.DARK})
    marks[3] = frozenset({Mark.NO_VIDEO})
    film.body[3], film.features[3] = np.nan, np.nan
    film = film._replace(marks=marks)
    grid = Grid(10.0, 4)
    assert cut(film, grid, 0).marks == {Mark.DARK}
    half = cut(film, grid, 1)
    assert half.marks == {Mark.VIDEO_GAP} and half.body is not None and half.features is not None
    assert np.isfinite(half.body).all() and (half.body[:, 200:] == 0).all()
    assert half.features.activity == 2
    assert cut(film, Grid(0.5, 4), 0).marks == {Mark.DARK}  # half a second of the next counts not
    empty = cut(film, Grid(0.5, 4), 2)
    assert empty.clip is None and empty.body is None and empty.marks == {Mark.NO_VIDEO}
    outside = cut(film, Grid(0.0, 9), 7)
    assert outside.clip is None and outside.marks == {Mark.NO_VIDEO}


def test_breathing_that_is_known_of_one_part_alone(film):
    film.features[2, BODY_FEATURES.index("breathing_rate")] = np.nan
    features = cut(film, Grid(15.0, 4), 0).features
    assert features is not None and features.breathing_rate == 1 and features.activity == 1.5


def test_the_course_of_the_night(film):
    values, first_s = course(film)
    assert first_s == -30 and values.shape == (3, 1800)
    np.testing.assert_allclose(values[0, :3], [-29.95, -29.85, -29.75])


def test_a_real_film_that_may_be_moved(simulate, tmp_path):
    """The pictures that the night's own epochs have are those of decoding them alone."""
    path = simulate(hours=0.05, film_late_s=-40.0, film_s=260.0).film
    grid, own = Grid(40.0, 6), {}
    for movable in (True, False):
        with Spool(tmp_path / "nights" / "n") as spool:
            film = spool.decode(path, OPTIONS, grid, movable=movable, progress=lambda share: None)
            own[movable] = [cut(film, grid, number).clip for number in range(6)]
            assert film.grid == (Grid(-20.0, 10) if movable else grid)
        assert not list((tmp_path / "nights").iterdir())
    np.testing.assert_array_equal(own[True], own[False])
