"""Scores of sleepers, against numbers that are worked out by hand or by YASA."""

import warnings

import numpy as np
import pytest
import torch

from xdistill.data.sleep_stages import STAGES
from xdistill.extras import import_extra
from xdistill.sleep.train.scores import (
    four_stages,
    held_out_entry,
    over_sleepers,
    sleeper_scores,
)
from xdistill.sleep.train.tables import agreement_table, nights_table

TRUTH = np.array([0, 0, 1, 2, 2, 3, 3, 2, 4, 4, -1, 0])
GUESS = np.array([0, 1, 2, 2, 2, 3, 2, 2, 4, 0, 0, 0])


def certain(stages: np.ndarray) -> torch.Tensor:
    return torch.eye(5)[torch.from_numpy(stages)] * 0.9 + 0.02


def test_a_sleeper_is_scored_where_both_give_a_stage():
    found = certain(GUESS)
    found[3] = torch.nan  # no film
    (one,) = sleeper_scores({"n": found}, {"n": TRUTH}, {"n": "s"})
    assert one.five.name == "s" and one.five.epochs == 10
    assert one.five.accuracy == pytest.approx(0.6)
    assert one.four["accuracy"] == pytest.approx(0.7)  # N1 for N2 is no fault there
    both = np.array([True] * 12)
    both[[3, 10]] = False
    table = np.zeros((5, 5))
    np.add.at(table, (TRUTH[both], GUESS[both]), 1)
    chance = (table.sum(0) @ table.sum(1)) / 100
    assert one.five.kappa == pytest.approx((0.6 - chance) / (1 - chance))
    assert one.five.found["TST"] == 0.5 * (GUESS[both] > 0).sum()
    assert one.five.reference["TST"] == 0.5 * (TRUTH[both] > 0).sum()


def test_statistics_are_yasas():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of YASA's libraries
        warnings.simplefilter("ignore", FutureWarning)
        yasa = import_extra("yasa", "sleep", "this test")
    truth = np.where(TRUTH < 0, 2, TRUTH)
    (one,) = sleeper_scores({"n": certain(GUESS)}, {"n": truth}, {"n": "s"})
    names = np.array(["WAKE", "N1", "N2", "N3", "REM"], dtype=object)
    for stages, kept in ((GUESS, one.five.found), (truth, one.five.reference)):
        theirs = yasa.Hypnogram(names[stages], n_stages=5).sleep_statistics()
        for name in ("TST", "SE", "SOL", "WASO", "N1", "N2", "N3", "REM"):
            assert kept[name] == pytest.approx(theirs[name], abs=0.01), name


def test_light_sleep_wins_together():
    p = torch.tensor([[0.4, 0.3, 0.3, 0.0, 0.0]])
    assert four_stages(p).argmax() == 1 and p.argmax() == 0
    assert four_stages(p).sum() == pytest.approx(1.0)


def test_nights_of_one_sleeper_count_as_one():
    found = {"a": certain(GUESS), "b": certain(TRUTH.clip(0))}
    (one,) = sleeper_scores(found, {"a": TRUTH, "b": TRUTH}, {"a": "s", "b": "s"})
    assert one.five.epochs == 22 and one.five.accuracy == pytest.approx((7 + 11) / 22)
    single = [sleeper_scores({n: found[n]}, {n: TRUTH}, {n: "s"})[0].five.found for n in "ab"]
    assert one.five.found["WASO"] == pytest.approx(np.mean([each["WASO"] for each in single]))


def test_a_sleeper_without_a_stage_is_left_out():
    assert sleeper_scores({"n": certain(GUESS)}, {"n": np.full(12, -1)}, {"n": "s"}) == []


def test_means_and_limits_over_sleepers():
    truth = {"a": TRUTH, "b": TRUTH, "c": TRUTH}
    found = {"a": certain(GUESS), "b": certain(TRUTH.clip(0)), "c": certain(GUESS)}
    sleepers = sleeper_scores(found, truth, {"a": "s1", "b": "s2", "c": "s3"})
    summary = over_sleepers(sleepers)
    values = [one.five.accuracy for one in sleepers]
    assert summary["five"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert summary["five"]["accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))
    apart = [one.five.found["REM"] - one.five.reference["REM"] for one in sleepers]
    limits = summary["statistics"]["REM"]
    assert limits["bias"] == pytest.approx(np.mean(apart))
    assert limits["high"] == pytest.approx(np.mean(apart) + 1.96 * np.std(apart, ddof=1))
    entry = held_out_entry(sleepers, "scored")
    assert entry["judge"] == "scored" and set(entry["four"]) == {"s1", "s2", "s3"}
    text = nights_table({"kd": {"hmm": sleepers}}, "yasa")
    assert "Held-out sleepers: 3, against YASA" in text and "kd, hmm" in text
    assert "TST (min)" in agreement_table("kd, hmm", sleepers)
    assert set(STAGES[1:]) <= set(summary["statistics"])


def test_students_of_several_seeds_do_not_multiply_sleepers():
    truth, subject = {"a": TRUTH, "b": TRUTH}, {"a": "s1", "b": "s2"}
    first = sleeper_scores({"a": certain(GUESS), "b": certain(GUESS)}, truth, subject)
    second = sleeper_scores({"a": certain(TRUTH.clip(0)), "b": certain(GUESS)}, truth, subject)
    summary = over_sleepers([*first, *second])
    assert summary["sleepers"] == 2
    assert summary["five"]["accuracy"]["mean"] == pytest.approx((7 / 11 + 1 + 2 * 7 / 11) / 4)
    assert summary["statistics"]["TST"]["sleepers"] == 2


def test_sleepers_are_counted_once_for_the_caveat_of_few():
    sleepers = sleeper_scores({"n": certain(GUESS)}, {"n": TRUTH}, {"n": "s"})
    twelve_seeds = sleepers * 12
    assert "1 sleepers tell the limits only roughly" in agreement_table("kd", twelve_seeds)
