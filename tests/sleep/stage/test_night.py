"""A film's epochs through a student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xdistill.sleep.films.epochs import VideoEpoch, film_epochs
from xdistill.sleep.marks import Mark
from xdistill.sleep.model import load_night_model
from xdistill.sleep.stage.night import NightSoFar, stage_film, stage_live
from xdistill.sleep.stage.stager import columns_of
from xdistill.sleep.stage.students import load_stager

CONTEXTS = ("none", "hmm", "head", "causal")


@pytest.fixture(scope="module")
def epochs(film, run):
    return list(film_epochs(film, load_stager(run).preprocessing))


def with_gap(epochs):
    gap = VideoEpoch(2, None, None, None, frozenset({Mark.NO_VIDEO}))
    return [gap if one.number == 2 else one for one in epochs]


@pytest.mark.parametrize("method", CONTEXTS)
def test_the_size_of_a_batch_changes_nothing(method, run, epochs):
    stager = load_stager(run, method)
    nights = [stage_film(with_gap(epochs), stager, size).night("a", None) for size in (1, 2, 99)]
    for other in nights[1:]:
        np.testing.assert_allclose(other.probabilities, nights[0].probabilities, atol=1e-5)
    first = nights[0]
    assert len(first.marks) == 5 and first.stages[2] == -1 and first.marks[2] == {Mark.NO_VIDEO}
    known = first.probabilities[[0, 1, 3, 4]]
    np.testing.assert_allclose(known.sum(axis=1), 1, atol=1e-5)
    assert np.isnan(first.features[2]).all() and np.isfinite(first.features[0][0])


def test_probabilities_are_the_model_s_own(run, epochs):
    model = load_night_model(run)
    night = stage_film(epochs, load_stager(run), 2).night("a", None)
    rows = model.embed({"body": torch.from_numpy(np.stack([one.body for one in epochs]))})
    right = model.stage(rows, torch.ones(len(epochs), dtype=torch.bool))
    np.testing.assert_allclose(night.probabilities, right.numpy(), atol=1e-5)
    assert len(set(night.probabilities[:, 0].round(4))) > 1  # the student does look at the film


@pytest.mark.parametrize("method", ["none", "causal"])
def test_a_causal_student_decides_live_as_it_does_afterwards(method, run, epochs):
    stager = load_stager(run, method)
    assert stager.causal
    live = list(stage_live(with_gap(epochs), NightSoFar(stager)))
    night = stage_film(with_gap(epochs), stager, 3).night("a", None)
    found = np.stack([one.probabilities for one in live])
    np.testing.assert_allclose(found, night.probabilities, atol=1e-5)
    assert live[2].stage is None and live[2].marks == {Mark.NO_VIDEO}


def test_one_that_looks_both_ways_decides_live_from_the_past(run, epochs):
    stager = load_stager(run, "head")
    assert not stager.causal
    live = next(iter(stage_live(epochs, NightSoFar(stager))))
    alone = stage_film(epochs[:1], stager, 1).night("a", None)
    np.testing.assert_allclose(live.probabilities, alone.probabilities[0], atol=1e-6)


def test_a_night_without_any_picture_has_no_stage(run):
    gaps = [VideoEpoch(at, None, None, None, frozenset({Mark.NO_VIDEO})) for at in range(3)]
    night = stage_film(gaps, load_stager(run), 2).night("a", None)
    assert night.stages.tolist() == [-1, -1, -1]


def test_epochs_out_of_order_and_no_epoch_are_refused(run, epochs):
    stager = load_stager(run)
    with pytest.raises(ValueError, match="epoch 1 came after 0 others"):
        stage_film(epochs[1:], stager, 2)
    with pytest.raises(ValueError, match="no whole epoch"):
        NightSoFar(stager).night("a.mp4", None)


def test_classes_are_brought_into_the_order_of_stages():
    assert columns_of(["N3", "R", "Wake", "N1", "N2"]) == [2, 3, 4, 0, 1]
    for classes in (["W", "NREM", "REM"], ["W", "N1", "N2", "N3"], ["W", "N1", "N2", "S3", "S4"]):
        with pytest.raises(ValueError, match="the student tells .* apart"):
            columns_of(classes)
