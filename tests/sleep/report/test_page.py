"""The report as a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from xdistill.sleep.report import page as module
from xdistill.sleep.report.held_out import Limits, limits_of_agreement
from xdistill.sleep.report.page import NO_DEVICE, Reference, likely_range, report_page
from xdistill.sleep.report.statistics import MEASURES, sleep_statistics

TST = next(one for one in MEASURES if one.name == "TST")


class Reader(HTMLParser):
    """Collects text, addresses and headings, and refuses tags that are not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)
        values = dict(attrs)
        self.addresses += [values[k] for k in ("src", "srcset", "href") if k in values]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)


def test_it_needs_nothing_from_elsewhere(night, student):
    text = report_page(night, student, Reference("scorer", night.stages))
    read = Reader(text)
    assert read.addresses and all(
        one.startswith("data:image/png;base64,") for one in read.addresses
    )
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    assert not read.tags & {"script", "link", "iframe", "object", "a"}
    assert "night &lt;17&gt;.mp4" in text and "night <17>" not in text


def test_it_says_what_a_doctor_has_to_know(night, student):
    text = Reader(report_page(night, student)).text
    assert NO_DEVICE in text
    assert "4 of 90 epochs (2 min) have no stage" in text
    assert "like those of the training nights" in text
    assert "From as few as 4 sleepers the limits are rough" in text
    statistics = sleep_statistics(night.stages)
    limits = limits_of_agreement(student.held_out, "TST")
    for words in (f"{statistics.TST:.1f} min", f"{limits.low:+.1f} to {limits.high:+.1f}", "71.0"):
        assert words in text
    assert "runs/a" in text and "Agreement with" not in text


def test_what_is_not_known_is_said(night, student):
    bare = student._replace(held_out=(), training=None)
    text = Reader(report_page(night, bare)).text
    assert "nobody knows how wrong these numbers are" in text and "uncertainty unknown" in text
    assert "nothing can be said about how far this one is" in text
    alone = student._replace(held_out=student.held_out[:1])
    assert "A single sleeper tells no limits" in Reader(report_page(night, alone)).text


def test_a_reference_is_compared_on_the_epochs_that_both_stage(night, student):
    stages = night.stages.copy()
    stages[20:24], stages[:9] = 2, (stages[:9] + 1) % 5
    stages[80:] = -1
    read = Reader(report_page(night, student, Reference("scorer.edf", stages)))
    assert "Agreement with scorer.edf" in read.headings
    assert f"agrees with the reference on {100 * 67 / 76:.1f} % of 76 epochs" in read.text
    assert "14 epochs to which one of the two gives no stage" in read.text
    assert "tells no limits of its own" in read.text


def test_a_night_without_any_stage_has_a_page(night, student):
    nothing = night._replace(
        probabilities=np.full_like(night.probabilities, np.nan),
        features=np.full_like(night.features, np.nan),
        start=None,
    )
    text = Reader(report_page(nothing, student)).text
    assert "90 of 90 epochs" in text and "do not describe the night" in text
    assert "nothing can be said about how this night compares" in text


@pytest.mark.parametrize("epochs", [1, 7])
def test_a_short_film_has_a_page(night, student, epochs):
    short = night._replace(
        probabilities=night.probabilities[:epochs],
        features=night.features[:epochs],
        marks=night.marks[:epochs],
    )
    assert f"in {epochs} epochs" in Reader(report_page(short, student)).text


def test_the_range_is_that_of_the_scorer():
    limits = Limits(10.0, -20.0, 40.0, 15.0, 9)  # the student sleeps 10 min more
    assert likely_range(TST, 400.0, limits, 480.0) == "360 to 420 min"
    assert likely_range(TST, 470.0, limits, 480.0) == "430 to 480 min"
    assert likely_range(TST, 5.0, limits, 480.0) == "0 to 25 min"
    assert likely_range(TST, float("nan"), limits, 480.0) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1.5 min"), (28800, "8 h 00 min"), (28770, "8 h 00 min")]
)
def test_durations(seconds, text):
    assert module.duration(seconds) == text
