"""Where a night's epochs lie on two clocks."""

from datetime import UTC, datetime

import pytest

from xdistill.sleep.align import expected_offset, grids
from xdistill.sleep.grid import Grid

EVENING = datetime(2024, 3, 9, 23, 50)
MIDNIGHT = datetime(2024, 3, 10, 0, 10)


def test_across_midnight():
    eeg, film = grids(EVENING, MIDNIGHT, 3600, 1800)
    assert eeg == Grid(0.0, 120)
    assert film == Grid(-1200.0, 120)
    assert film.start_of(40) == 0.0  # the film begins with epoch 40


def test_a_film_that_begins_first_and_a_scoring_that_begins_later():
    eeg, film = grids(MIDNIGHT, EVENING, 3600, 7200, first_epoch_s=45)
    assert eeg == Grid(45.0, 118)
    assert film.start_s == 1245.0


def test_drift():
    _, film = grids(EVENING, EVENING, 8 * 3600, 8 * 3600, offset_s=10.0, drift=1e-4)
    assert film.start_s == pytest.approx(-10.001)
    assert film.start_of(960) == pytest.approx((8 * 3600 - 10) * 1.0001)


def test_a_given_offset_goes_before_start_times():
    assert expected_offset(EVENING, MIDNIGHT, 3.0) == 3.0
    assert expected_offset(None, None, -3) == -3.0
    assert grids(None, None, 90, 90, offset_s=-3)[1] == Grid(3.0, 3)


@pytest.mark.parametrize(
    ("recording", "film", "message"),
    [
        (None, MIDNIGHT, "the recording says no start time; pass offset_s"),
        (EVENING, None, "the film says no start time; pass offset_s"),
        (None, None, "the recording and the film say no start time; pass offset_s"),
        (EVENING, MIDNIGHT.replace(tzinfo=UTC), "film's start .* has a time zone"),
    ],
)
def test_a_start_time_that_is_missing_or_has_a_zone(recording, film, message):
    with pytest.raises(ValueError, match=message):
        grids(recording, film, 3600, 3600)


def test_no_overlap_says_both_times_and_what_would_explain_it():
    with pytest.raises(ValueError, match="do not overlap") as caught:
        grids(EVENING, datetime(2024, 3, 10, 1, 50), 3600, 3600)
    text = str(caught.value)
    assert "2024-03-09 23:50:00 to 2024-03-10 00:50:00" in text
    assert "2024-03-10 01:50:00 to 2024-03-10 02:50:00" in text
    assert "wrong by 2 h" in text
    assert "offset_s=0" in text


def test_the_date_of_the_evening_before():
    with pytest.raises(ValueError, match="wrong by 24 h"):
        grids(MIDNIGHT, datetime(2024, 3, 9, 0, 10), 3600, 3600)


def test_another_week():
    with pytest.raises(ValueError, match="same night"):
        grids(EVENING, datetime(2024, 3, 20, 23, 50), 3600, 3600)


def test_an_overlap_by_less_than_an_epoch_is_none():
    with pytest.raises(ValueError, match="do not overlap"):
        grids(None, None, 3600, 3600, offset_s=3580)


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ((29, 3600), {}, "holds no epoch"),
        ((3600, 3600), {"first_epoch_s": -1}, "not negative"),
        ((3600, 3600), {"drift": 2.0}, "drift must be"),
        ((3600, 3600), {"offset_s": float("nan")}, "finite"),
    ],
)
def test_refused(lengths, options, message):
    with pytest.raises(ValueError, match=message):
        grids(EVENING, EVENING, *lengths, **options)
