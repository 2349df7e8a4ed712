"""Preparations of a teacher's outputs, by name in a method."""

from dataclasses import replace

import torch

import xdistill as xd
from tests.experiment.test_experiment import SETTING
from tests.experiment.test_few_labels import FEW, few
from xdistill.data.seen import seen_rows
from xdistill.data.splits import Splits
from xdistill.engine.recipe import recipe_loss
from xdistill.experiment import Experiment, Trial
from xdistill.experiment.methods import create_losses
from xdistill.experiment.targets import PREPARED


def prepared(experiment: Experiment, method: str, **numbers) -> xd.PairedDataset:
    return experiment._student(Trial("sleepers", method, 0, **numbers)).splits.train


def test_each_preparation_is_what_the_library_does_with_the_rows_of_the_student(tmp_path):
    experiment = few(tmp_path)
    plain = prepared(experiment, "kd", labels=0.3)
    assert 0 < int(plain.labelled.sum()) < len(plain)
    camera = torch.stack([plain.read("camera", row) for row in range(len(plain))])
    expected = {
        "calibrated": xd.calibrate_teacher(plain, "belt"),
        "smoothed": xd.refine_targets(plain, "belt", camera, correct=False),
        "corrected": xd.refine_targets(plain, "belt", camera, correct=True),
    }
    assert set(expected) == set(PREPARED)
    for name, dataset in expected.items():
        found = prepared(experiment, f"{name}+kd", labels=0.3)
        assert torch.equal(found.cached["belt"].logits, dataset.cached["belt"].logits)
        assert not torch.equal(found.cached["belt"].logits, plain.cached["belt"].logits)
        assert torch.equal(found.target, plain.target)


def test_preparations_follow_their_order_and_apply_to_every_teacher(tmp_path):
    setting = replace(SETTING, layers=())
    experiment = few(tmp_path, setting)
    logits = {
        method: prepared(experiment, method, labels=0.3).cached
        for method in ("kd", "calibrated+corrected+kd", "corrected+calibrated+kd", "calibrated+kd")
    }
    for modality in ("belt", "radar"):
        different = {str(one[modality].logits.tolist()) for one in logits.values()}
        assert len(different) == 4


def test_calibrated_students_train_and_are_kept_apart(tmp_path):
    experiment = few(tmp_path)
    plain = experiment.student("pseudo_label/soft", labels=0.3)
    other = experiment.student("calibrated+pseudo_label/soft", labels=0.3)
    assert other.history != plain.history
    assert other == few(tmp_path).student("calibrated+pseudo_label/soft", labels=0.3)


def test_augmented_inputs_are_refined_the_same_way_again(tmp_path):
    def noisy(root, split):
        splits = FEW.load(root, split)
        noise = {"camera": lambda x: x + torch.randn_like(x)}
        return splits._replace(train=splits.train.replace(transforms=noise))

    first, second = (
        prepared(few(tmp_path, replace(FEW, load=noisy)), "smoothed+kd", labels=0.3).cached["belt"]
        for _ in range(2)
    )
    assert torch.equal(first.logits, second.logits)


def test_the_recipe_keeps_the_targets_that_validation_prefers(tmp_path):
    experiment = few(tmp_path)
    tried = {
        targets: experiment.student("recipe", labels=0.3, targets=targets)
        for targets in ("own", "smoothed", "corrected")
    }
    kept = experiment.trial("recipe", labels=0.3)
    assert tried[kept.targets].val.macro_f1 == max(one.val.macro_f1 for one in tried.values())
    assert experiment.student("recipe", labels=0.3) == tried[kept.targets]
    assert repr(create_losses("recipe", FEW)) == repr(create_losses("pseudo_label/soft+dist", FEW))
    assert repr(create_losses("recipe", FEW)["belt"]) == repr(recipe_loss())
    own = experiment.student("pseudo_label/soft+dist", labels=0.3)
    assert own.predicted == tried["own"].predicted and own.history == tried["own"].history
    other = experiment.student("corrected+pseudo_label/soft+dist", labels=0.3)
    assert other.predicted == tried["corrected"].predicted


def test_where_rows_are_no_vectors_the_student_of_the_own_targets_tells_what_is_near(tmp_path):
    def as_signals(root, split):
        return Splits(*(with_signal(one) for one in FEW.load(root, split)))

    def with_signal(part):
        signal = part.inputs["camera"].repeat_interleave(8, dim=1)[:, None]
        return part.replace(inputs={"belt": part.inputs["belt"], "inertial": signal})

    setting = replace(FEW, load=as_signals, student="inertial", encoder="inertial_small")
    experiment = few(tmp_path, setting)
    trial = Trial("sleepers", "pseudo_label/soft+dist", 0, labels=0.3)
    smoothed = experiment._student(replace(trial, method="smoothed+pseudo_label/soft+dist"))
    own = experiment._trained(trial)
    plain = experiment._student(trial).splits.train
    seen = seen_rows(plain, "inertial", own)
    expected = xd.refine_targets(plain, "belt", seen, correct=False).cached["belt"].logits
    assert torch.equal(smoothed.splits.train.cached["belt"].logits, expected)
    experiment.run(trial)  # finished: now it is read
    again = experiment._trained(replace(trial, targets="smoothed"))
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), again.parameters(), strict=True))
