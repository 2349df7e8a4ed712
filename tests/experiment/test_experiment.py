"""Trials of one setting: trained once, read afterwards, resumed after an interruption."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import xdistill as xd
from xdistill import registry
from xdistill.experiment import ALONE, Experiment, Failure, Setting, TeacherTrial, Trial
from xdistill.experiment.run_folder import WEIGHTS, read_outcome, write_outcome

EPOCHS = 3


def load(root: Path, split: int) -> xd.Splits:
    """Two teachers' signals and the student's, which are all noise around the class."""
    generator = torch.Generator().manual_seed(split)
    group = torch.arange(60)
    target = torch.randint(2, (60,), generator=generator)
    signals = {
        name: target[:, None] + torch.randn(60, width, generator=generator)
        for name, width in (("belt", 3), ("radar", 4), ("camera", 5))
    }
    data = xd.PairedDataset(signals, target, classes=("awake", "asleep"), group=group)
    return xd.split_by_group(data, seed=split)


SETTING = Setting(
    load,
    {"belt": "mlp", "radar": "mlp"},
    "camera",
    layers=(("layer1", "layer1"),),
    epochs=EPOCHS,
    teacher_epochs=2,
    batch_size=8,
)


class Stubborn(xd.Loss):
    """A loss that raises in its second epoch while `fails` is True."""

    name = "stubborn"
    fails = False
    epochs: ClassVar[list[int]] = []
    """The epoch of every step."""

    def set_progress(self, step, total, steps_per_epoch=1):
        super().set_progress(step, total, steps_per_epoch)
        self.epochs.append(int(step // steps_per_epoch))

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        if self.fails and self.epochs[-1] == 1:
            raise RuntimeError("out of luck")
        return (student.embedding - teacher.embedding).square().mean()


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    return Experiment("sleepers", tmp_path / "runs", SETTING)


@pytest.fixture
def stubborn(monkeypatch) -> type[Stubborn]:
    registry.losses.list()
    monkeypatch.setattr(registry.losses, "_entries", dict(registry.losses._entries))
    monkeypatch.setattr(Stubborn, "fails", True)
    Stubborn.epochs.clear()
    return xd.register_loss("stubborn")(Stubborn)


def numbers(result) -> tuple:
    """All of a result but its time."""
    return result.val, result.test, result.best_epoch, result.history, result.predicted


def test_a_student_learns_from_two_teachers_and_is_read_the_second_time(experiment, monkeypatch):
    taught = experiment.student("kd+fitnet")
    assert len(taught.history) == EPOCHS and len(taught.predicted) == len(experiment.splits().test)
    assert {"train/belt/kd", "train/radar/fitnet"} <= set(taught.history[0])
    folder = experiment.folder / Trial("sleepers", "kd+fitnet", 0).folder
    assert {path.name for path in folder.iterdir()} == {"result.json", WEIGHTS}
    for modality in ("belt", "radar"):
        assert read_outcome(experiment.folder / TeacherTrial("sleepers", modality, 0).folder)

    def unread(root, split):
        raise AssertionError("what is finished needs no data")

    again = Experiment("sleepers", experiment.folder, replace(SETTING, load=unread))
    assert again.student("kd+fitnet") == taught
    assert again.teacher("belt") == experiment.teacher("belt")


def test_the_same_seed_gives_the_same_numbers_in_any_order(experiment, tmp_path):
    alone, taught = experiment.student(ALONE), experiment.student("kd")
    other = Experiment("sleepers", tmp_path / "other", SETTING)
    other.student("sp")
    assert numbers(other.student("kd")) == numbers(taught)
    assert numbers(other.student(ALONE)) == numbers(alone)
    assert numbers(other.student(ALONE, seed=1)) != numbers(alone)


def test_an_interrupted_run_continues_from_its_checkpoint(experiment, stubborn, tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        experiment.student("stubborn")
    folder = experiment.folder / Trial("sleepers", "stubborn", 0).folder
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    stubborn.fails = False
    stubborn.epochs.clear()
    resumed = experiment.student("stubborn")
    assert set(stubborn.epochs) == {1, 2}
    assert not (folder / "last.ckpt").exists()
    whole = Experiment("sleepers", tmp_path / "whole", SETTING).student("stubborn")
    assert numbers(resumed) == numbers(whole)


def test_a_run_that_failed_starts_anew(experiment, stubborn):
    with pytest.raises(RuntimeError, match="out of luck"):
        experiment.student("stubborn")
    trial = Trial("sleepers", "stubborn", 0)
    write_outcome(experiment.folder / trial.folder, trial, Failure("RuntimeError", 1.0))
    stubborn.fails = False
    stubborn.epochs.clear()
    experiment.student("stubborn")
    assert set(stubborn.epochs) == {0, 1, 2}


def test_the_numbers_of_a_trial_change_the_run(experiment):
    plain = numbers(experiment.student("kd"))
    for other in ({"lr_factor": 0.1}, {"strength": 9.0}, {"labels": 0.2}, {"missing": 0.8}):
        assert numbers(experiment.student("kd", **other)) != plain, other
    idle = experiment.student("fitnet", strength=1e-12)
    assert idle.test == experiment.student(ALONE).test


def test_hidden_layers_of_student_and_teachers_are_compared(experiment):
    assert {"train/belt/ickd", "train/radar/ickd"} <= set(experiment.student("ickd").history[0])


def test_a_folder_belongs_to_one_setting(experiment):
    experiment.teacher("belt")
    other = Experiment("sleepers", experiment.folder, replace(SETTING, epochs=9))
    with pytest.raises(ValueError, match="made with other options: {'epochs': '3 → 9'}"):
        other.student(ALONE)


def test_mistakes_are_refused(experiment):
    with pytest.raises(ValueError, match="on setting 'sleepers', got a trial of 'mfh_gaussian'"):
        experiment.run(Trial("mfh_gaussian", "kd", 0))
    with pytest.raises(ValueError, match="unknown setting 'sleepers'"):
        Experiment("sleepers", experiment.folder)
    wrong = replace(SETTING, teachers={"sonar": "mlp"})
    with pytest.raises(ValueError, match="no modality 'sonar'"):
        Experiment("sleepers", experiment.folder / "wrong", wrong).student("kd")


def test_without_its_teacher_a_student_fails_at_once(experiment):
    trial = TeacherTrial("sleepers", "belt", 0)
    write_outcome(experiment.folder / trial.folder, trial, Failure("OSError: gone", 1.0))
    with pytest.raises(RuntimeError, match="the teacher on belt failed: OSError: gone"):
        experiment.student("kd")
    experiment.teacher("belt")
    assert experiment.student("kd").predicted


def precomputed_load(root: Path, split: int) -> xd.Splits:
    """The radar's teacher is not here, but half of its answers are."""

    def with_answers(part: xd.PairedDataset) -> xd.PairedDataset:
        probabilities = torch.eye(2)[part.target] * 0.8 + 0.1
        probabilities[::2] = torch.nan
        return xd.precomputed(part, "radar", probabilities=probabilities)

    return xd.Splits(*map(with_answers, load(root, split)))


def test_a_student_learns_from_outputs_that_the_data_hold(tmp_path):
    setting = replace(SETTING, load=precomputed_load, teachers={"radar": "precomputed"}, layers=())
    experiment = Experiment("sleepers", tmp_path, setting)
    teacher = experiment.teacher("radar")
    assert teacher.test.accuracy == 1 and teacher.history == []
    assert len(teacher.predicted) == len(experiment.splits().test) // 2
    taught = experiment.student("kd")
    assert len(taught.history) == EPOCHS and "train/kd" in taught.history[0]
    pairs, _ = experiment.pairs(experiment.trial("kd"))
    assert pairs.cached["radar"].logits.shape == (len(pairs), 2)
    with pytest.raises(ValueError, match="cannot be trained for the case 'cross_fitted'"):
        experiment.teacher("radar", case="cross_fitted")


def test_weighted_classes_are_another_training_and_another_setting(tmp_path):
    plain = Experiment("sleepers", tmp_path / "plain", SETTING).student(ALONE)
    setting = replace(SETTING, weighted=True)
    weighted = Experiment("sleepers", tmp_path / "weighted", setting).student(ALONE)
    assert plain.history[0]["train/loss"] != weighted.history[0]["train/loss"]
    assert "weighted" not in SETTING.config() and setting.config()["weighted"]


def other_data(root: Path, split: int) -> xd.Splits:
    parts = load(root, split)
    scaled = {name: 2 * one for name, one in parts.test.inputs.items()}
    return parts._replace(test=parts.test.replace(inputs=scaled))


def test_runs_of_other_data_are_neither_read_nor_added_to(experiment):
    experiment.student(ALONE)
    again = Experiment("sleepers", experiment.folder, SETTING)
    assert numbers(again.student(ALONE)) == numbers(experiment.student(ALONE))
    other = Experiment("sleepers", experiment.folder, replace(SETTING, load=other_data))
    told = r"made with other data: \{'test': '\d+ rows \(.*\) → \d+ rows .*choose another --out"
    for method in (ALONE, "kd"):
        with pytest.raises(ValueError, match=told):
            other.student(method)
    with pytest.raises(ValueError, match=told):
        other.check_data()
    assert other.student(ALONE, seed=1).val  # a split of its own, of which no run is kept


def test_a_foreign_corpus_of_the_teacher_is_compared_too(tmp_path):
    def corpus(scale: float):
        def load_corpus(root: Path, split: int) -> xd.PairedDataset:
            rows = load(root, split + 7).train
            return rows.replace(inputs={name: scale * one for name, one in rows.inputs.items()})

        setting = replace(SETTING, teacher_load=load_corpus)
        return Experiment("sleepers", tmp_path / "runs", setting)

    corpus(1.0).teacher("belt", case="transfer")
    with pytest.raises(ValueError, match=r"made with other data: \{'teacher': "):
        corpus(2.0).teacher("radar", case="transfer")
