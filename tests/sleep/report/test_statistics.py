"""Sleep statistics against YASA's and against nights counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xdistill.sleep.report.statistics import MEASURES, SleepStatistics, sleep_statistics

YASA_NAMES = {
    "TIB": "TIB", "TST": "TST", "SE": "SE", "SOL": "SOL", "WASO": "WASO", "W": "WAKE", "N1": "N1",
    "N2": "N2", "N3": "N3", "REM": "REM", "N1_share": "%N1", "N2_share": "%N2", "N3_share": "%N3",
    "REM_share": "%REM",
}  # fmt: skip


def test_a_night_counted_by_hand():
    #        W  W  N1 N2  −  W  N2 REM N3 W
    found = sleep_statistics(np.array([0, 0, 1, 2, -1, 0, 2, 4, 3, 0]))
    assert (found.TIB, found.TST, found.SE) == (5.0, 2.5, 50.0)
    assert (found.SOL, found.WASO, found.REM_latency) == (1.0, 0.5, 2.5)
    assert (found.W, found.N1, found.N2, found.N3, found.REM) == (2.0, 0.5, 1.0, 0.5, 0.5)
    assert (found.N2_share, found.missing) == (40.0, 0.5)


@pytest.mark.parametrize("seed", range(8))
def test_they_are_those_of_yasa(seed):
    yasa = pytest.importorskip("yasa")
    rng = np.random.default_rng(seed)
    stages = rng.choice([-1, 0, 1, 2, 3, 4], 300, p=[0.1, 0.3, 0.1, 0.3, 0.1, 0.1])
    stages[: 5 * seed] = 0
    names = np.array(["WAKE", "N1", "N2", "N3", "REM", "UNS"], dtype=object)
    right = yasa.Hypnogram(names[stages], n_stages=5).sleep_statistics()
    found = sleep_statistics(stages)
    for ours, theirs in YASA_NAMES.items():
        assert getattr(found, ours) == pytest.approx(float(right[theirs]), abs=1e-3), ours
    assert found.REM_latency == pytest.approx(float(right["Lat_REM"] - right["SOL"]), abs=1e-3)
    assert found.missing == pytest.approx(float(right.get("UNS", 0)), abs=1e-3)


def test_without_sleep_there_is_no_latency():
    found = sleep_statistics(np.zeros(20, int))
    assert found.TST == 0 and found.SE == 0 and found.W == 10
    assert all(math.isnan(one) for one in (found.SOL, found.WASO, found.REM_latency))
    assert math.isnan(found.N1_share)


@pytest.mark.parametrize("stages", [[], [5, 0], [-2], [[0, 1]]])
def test_what_is_no_hypnogram_is_refused(stages):
    with pytest.raises(ValueError, match="hypnogram is one row|stages are"):
        sleep_statistics(np.array(stages))


def test_every_number_has_a_label():
    assert tuple(one.name for one in MEASURES) == SleepStatistics._fields
