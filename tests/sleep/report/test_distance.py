"""How far a night lies from those of training."""

from __future__ import annotations

import numpy as np
import pytest

from xdistill.sleep.report.distance import (
    TrainingNights,
    distance_from_training,
    distance_sentence,
    training_nights,
)

NAMES = ("activity", "breathing_rate")


def training(correlation=None, nights=10_000):
    return TrainingNights(NAMES, np.array([2.0, 14.0]), np.array([0.5, 2.0]), correlation, nights)


def night(activity, rate, epochs=20):
    return np.tile(np.array([activity, rate], np.float32), (epochs, 1))


def test_a_night_like_the_others_is_near():
    features = night(2.2, 15.0)
    features[:5, 1] = np.nan  # epochs whose breathing could not be measured do not count
    found = distance_from_training(features, NAMES, training())
    assert found.z == pytest.approx([0.4, 0.5], abs=1e-5)
    assert found.mahalanobis == pytest.approx(np.sqrt((0.4**2 + 0.5**2) / 2), abs=1e-5)
    assert "are like those of the training nights" in distance_sentence(found, training())


def test_features_that_never_go_together_are_far():
    correlation = np.array([[1.0, 0.95], [0.95, 1.0]])
    features = night(2.0 + 0.9, 14.0 - 3.6)  # both within 1.8 sd, yet opposite to each other
    alone = distance_from_training(features, NAMES, training())
    together = distance_from_training(features, NAMES, training(correlation))
    assert alone.mahalanobis < 2 < 3 < together.mahalanobis
    assert "lie far from" in distance_sentence(together, training(correlation))


def test_few_nights_tell_little_about_correlations():
    correlation = np.array([[1.0, 0.95], [0.95, 1.0]])
    features = night(2.9, 10.4)
    few = distance_from_training(features, NAMES, training(correlation, 2)).mahalanobis
    many = distance_from_training(features, NAMES, training(correlation)).mahalanobis
    assert few < many / 2


def test_another_rate_of_breathing_is_named():
    found = distance_from_training(night(2.0, 26.0), NAMES, training())
    text = distance_sentence(found, training())
    assert "far from" in text and "breathing rate: 26, 6.0 standard deviations higher" in text


def test_what_cannot_be_measured_is_said():
    found = distance_from_training(night(2.0, np.nan), NAMES, training())
    assert found.names == ("activity",) and found.missing == ("breathing_rate",)
    text = distance_sentence(found, training())
    assert "no measurable breathing rate" in text and "with caution" in text
    nothing = distance_from_training(night(np.nan, np.nan), NAMES, training())
    assert np.isnan(nothing.mahalanobis)
    assert "nothing can be said" in distance_sentence(nothing, training())


def test_no_common_feature_says_nothing():
    found = distance_from_training(night(1, 1), ("a", "b"), training())
    assert found.names == () and np.isnan(found.mahalanobis)
    assert "no measure of movement or breathing in common" in distance_sentence(found, training())


def test_a_feature_without_spread_compares_with_none():
    flat = training()._replace(sd=np.array([0.0, 2.0]))
    found = distance_from_training(night(9, 14), NAMES, flat)
    assert found.names == ("breathing_rate",) and "like those" in distance_sentence(found, flat)


def test_a_run_s_own_words_are_read_and_a_single_night_compares_with_none():
    signals = {"names": ["a", "b"], "mean": [1.0, None], "sd": [0.5, 0.0], "nights": 4}
    found = training_nights({**signals, "correlation": None})
    assert found is not None and found.nights == 4 and np.isnan(found.mean[1])
    distance = distance_from_training(np.array([[2.0, 5.0]]), ("a", "b"), found)
    assert distance.names == ("a",) and distance.z == pytest.approx([2.0])
    assert training_nights({**signals, "nights": 1}) is None
    assert training_nights({"names": []}) is None
    with pytest.raises(ValueError, match="train the student again"):
        training_nights({"names": ["a"], "nights": 3})
