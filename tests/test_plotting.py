"""The figures: files that are pictures, stages in their order, groups that do not differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xdistill import plotting
from xdistill.data.sleep_stages import STAGES
from xdistill.plotting import _groups, critical_difference, hypnogram, share_curves


@given(st.lists(st.floats(1, 14), min_size=1, max_size=14), st.floats(0, 8))
def test_groups_are_the_longest_runs_that_do_not_differ(ranks, difference):
    values = sorted(ranks)
    groups = _groups(values, difference)
    covered = {
        (a, b) for first, last in groups for a in range(first, last) for b in range(a + 1, last + 1)
    }
    alike = {
        (a, b)
        for a in range(len(values))
        for b in range(a + 1, len(values))
        if values[b] - values[a] <= difference
    }
    assert covered == alike
    assert all(not (a[0] <= b[0] and b[1] <= a[1]) for a in groups for b in groups if a != b)


def axes_of_a_night(tmp_path, monkeypatch, classes, true, predicted):
    """The axes that `hypnogram` draws, the expert's first."""
    figures = []
    monkeypatch.setattr(plotting, "_save", lambda figure, path: figures.append(figure))
    hours = np.arange(len(true)) / 120
    hypnogram(tmp_path / "night.png", hours, true, {"kd": predicted}, classes, "a night")
    (figure,) = figures
    plotting.plt.close(figure)
    return figure.axes


@pytest.mark.parametrize("rem", ["REM", "R"])
def test_a_hypnogram_has_rem_sleep_next_to_wakefulness(tmp_path, monkeypatch, rem):
    classes = ("W", "N1", "N2", "N3", rem)
    expert, kd = axes_of_a_night(tmp_path, monkeypatch, classes, [0, 1, 2, 3, 4], [0, 1, 4, 3, 4])
    assert [text.get_text() for text in expert.get_yticklabels()] == ["W", "REM", "N1", "N2", "N3"]
    course, red, wrong = expert.lines
    assert course.get_ydata().tolist() == [0, 2, 3, 4, 1]
    np.testing.assert_array_equal(red.get_ydata(), [np.nan] * 4 + [1])
    assert len(wrong.get_ydata()) == 0
    assert kd.lines[2].get_ydata().tolist() == [1]
    assert kd.get_ylabel() == "kd\n80 % right"


def test_stages_of_the_old_manual_share_a_line(tmp_path, monkeypatch):
    classes = ("W", "S1", "S2", "S3", "S4")
    expert, kd = axes_of_a_night(tmp_path, monkeypatch, classes, [0, 3, 4], [0, 4, 3])
    assert [text.get_text() for text in expert.get_yticklabels()] == ["W", "N1", "N2", "N3"]
    assert expert.lines[0].get_ydata().tolist() == kd.lines[0].get_ydata().tolist() == [0, 3, 3]
    assert kd.get_ylabel() == "kd\n100 % right"


@pytest.mark.parametrize(
    ("classes", "wrong"), [(("left", "right"), "left"), (("W", "N1", "MT"), "MT")]
)
def test_other_classes_are_refused(tmp_path, classes, wrong):
    with pytest.raises(ValueError, match=f"shows sleep stages, got .* of which '{wrong}' is none"):
        hypnogram(tmp_path / "night.png", [0.0], [0], {}, classes, "a night")
    assert not list(tmp_path.iterdir())


def test_a_hypnogram_is_a_picture(tmp_path):
    hypnogram(tmp_path / "night.png", [0.0, 0.5], [0, 4], {"kd": [0, 2]}, STAGES, "a night")
    with Image.open(tmp_path / "night.png") as image:
        assert np.asarray(image.convert("L")).std() > 0


@pytest.mark.parametrize("count", [2, 5, 14])
def test_ranks_are_drawn(tmp_path, count):
    ranks = {f"method{k}": float(1 + k) for k in range(count)}
    critical_difference(tmp_path / "ranks.png", ranks, 2.5)
    with Image.open(tmp_path / "ranks.png") as image:
        assert np.asarray(image.convert("L")).std() > 0


def test_curves_are_drawn_with_and_without_intervals(tmp_path):
    points = {"0.1": {"mean": 0.5, "half_width": 0.1}, "1": {"mean": 0.7, "half_width": None}}
    alone = {"0": {"mean": 0.7, "half_width": None}}
    kinds = {
        "labels": {"student": points, "kd": points},
        "missing": {"student": alone, "kd": points},
    }
    share_curves(tmp_path / "curves.png", {"one": kinds, "two": {"labels": kinds["labels"]}})
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[1] > image.size[0] / 2
