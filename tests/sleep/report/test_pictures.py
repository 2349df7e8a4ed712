"""The pictures of a report."""

from __future__ import annotations

import io

import numpy as np
import pytest

from xdistill.sleep.report import pictures
from xdistill.sleep.report.agreement import Agreement
from xdistill.sleep.report.statistics import sleep_statistics


def size(png: bytes) -> tuple[int, int]:
    image = pytest.importorskip("PIL.Image")
    return image.open(io.BytesIO(png)).size


def brightness_of(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2


def test_those_for_phones_are_narrow(night):
    for draw in (pictures.hypnogram_picture, pictures.body_picture):
        wide, narrow = size(draw(night)), size(draw(night, narrow=True))
        assert narrow[0] < 0.5 * wide[0] and narrow[1] > 0.6 * narrow[0]


def test_neighbouring_sleep_stages_differ_in_brightness():
    levels = [brightness_of(pictures.COLOURS[name]) for name in ("N1", "N2", "N3")]
    assert levels[0] > 1.5 * levels[1] > 1.5 * 1.5 * levels[2]


def test_a_hypnogram_shows_what_was_staged(night):
    """A stage drawn elsewhere makes another picture; the same stage the same one."""
    changed = night.probabilities.copy()
    changed[50] = np.roll(changed[50], 1)
    assert pictures.hypnogram_picture(night) == pictures.hypnogram_picture(night)
    other = night._replace(probabilities=changed)
    assert pictures.hypnogram_picture(night) != pictures.hypnogram_picture(other)
    assert size(pictures.hypnogram_picture(night, night.stages))[0] == 1600


def test_a_stage_that_the_reference_lacks_is_drawn():
    confusion = np.diag([3, 0, 4, 1, 2])
    nan = float("nan")
    one = Agreement(
        10, 0, 1.0, 1.0, 1.0, (1.0, nan, 1.0, 1.0, 1.0), (nan,) * 5, (nan,) * 5, confusion
    )
    assert pictures.confusion_picture(one)[:8] == b"\x89PNG\r\n\x1a\n"


def test_bland_and_altman_without_a_sleeper_or_a_latency(night):
    awake = sleep_statistics(np.zeros(20, int))
    assert pictures.bland_altman_picture((), (awake, awake), narrow=True)[:4] == b"\x89PNG"
