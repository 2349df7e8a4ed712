"""The figures of the suite: files that are pictures, groups that do not differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xdistill.plotting import _groups, critical_difference, share_curves


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
