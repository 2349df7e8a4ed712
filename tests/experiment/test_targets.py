"""Preparations of a teacher's outputs, by name in a method."""

from dataclasses import replace

import torch

import xdistill as xd
from tests.experiment.test_experiment import SETTING
from tests.experiment.test_few_labels import FEW, few
from xdistill.experiment import Experiment, Trial
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
        "refined": xd.refine_targets(plain, "belt", camera),
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
        for method in ("kd", "calibrated+refined+kd", "refined+calibrated+kd", "calibrated+kd")
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
        prepared(few(tmp_path, replace(FEW, load=noisy)), "refined+kd", labels=0.3).cached["belt"]
        for _ in range(2)
    )
    assert torch.equal(first.logits, second.logits)
