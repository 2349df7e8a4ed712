"""Limits of agreement over sleepers held out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xdistill.sleep.report.held_out import HeldOutSleeper, limits_of_agreement


def sleepers(found, reference):
    return [
        HeldOutSleeper(f"s{at}", 900, 0.7, 0.6, 0.5, {"TST": one}, {"TST": other})
        for at, (one, other) in enumerate(zip(found, reference, strict=True))
    ]


def test_they_are_those_of_yasa():
    yasa = pytest.importorskip("yasa")
    import pandas

    rng = np.random.default_rng(1)
    right = rng.normal(400, 40, 12)
    found = right + rng.normal(10, 20, 12)
    one = limits_of_agreement(sleepers(found, right), "TST")
    made = yasa.SleepStatsAgreement(
        pandas.DataFrame({"TST": right}), pandas.DataFrame({"TST": found})
    )
    table = made.summary(ci_method=None)
    assert one.bias == pytest.approx(table.loc["TST", ("bias_mean", "center")])
    assert one.low == pytest.approx(table.loc["TST", ("loa_lower", "center")], abs=0.01)
    assert one.high == pytest.approx(table.loc["TST", ("loa_upper", "center")], abs=0.01)
    assert one.absolute == pytest.approx(np.abs(found - right).mean()) and one.sleepers == 12


def test_too_few_sleepers_have_no_limits():
    one = limits_of_agreement(sleepers([400.0, math.nan], [390.0, 380.0]), "TST")
    assert (one.bias, one.sleepers) == (10.0, 1) and math.isnan(one.low)
    none = limits_of_agreement([], "TST")
    assert none.sleepers == 0 and math.isnan(none.bias)
