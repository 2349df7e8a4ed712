"""Students with few labels: of whole subjects, in two streams, from teachers that saw none."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

import xdistill as xd
from tests.experiment.test_experiment import SETTING, load
from xdistill import registry
from xdistill.experiment import LABELLED, Experiment, Setting, Trial
from xdistill.experiment.rows import epoch_rows, has_both_kinds, labelled_only
from xdistill.losses.parts.checks import require_logits

FEW = replace(
    SETTING,
    load=lambda root, split: with_groups(load(root, split)),
    teachers={"belt": "mlp"},
    layers=(),
    batch_size=8,
)


def with_groups(splits: xd.Splits) -> xd.Splits:
    """Three rows a subject."""
    return xd.Splits(
        *(
            part.replace(group=100 * number + torch.arange(len(part)) // 3)
            for number, part in enumerate(splits)
        )
    )


class Watch(xd.Loss):
    """Records what every step shows of a batch."""

    name = "watch"
    shared_space = False
    steps: ClassVar[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = []

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        require_logits(self.name, teacher)
        self.steps.append((target.clone(), index.clone(), teacher.logits.clone()))
        return 0 * student.embedding.sum()


@pytest.fixture
def watch(monkeypatch) -> type[Watch]:
    registry.losses.list()
    monkeypatch.setattr(registry.losses, "_entries", dict(registry.losses._entries))
    Watch.steps.clear()
    return xd.register_loss("watch")(Watch)


def few(tmp_path, setting: Setting = FEW) -> Experiment:
    return Experiment("sleepers", tmp_path / "runs", setting)


def test_labels_of_whole_groups_reach_the_student(tmp_path, watch):
    experiment = few(tmp_path)
    experiment.student("watch", groups=2)
    train = experiment.splits().train
    target, index, _ = (torch.cat(each) for each in zip(*watch.steps, strict=True))
    assert len(train.group[index[target >= 0]].unique()) == 2
    assert torch.equal(target[target >= 0], train.target[index[target >= 0]])
    assert set(index.tolist()) == set(range(len(train)))  # all rows distil
    assert Trial("sleepers", "watch", 0, groups=2).folder.name.endswith("_groups2")
    assert "groups" not in Trial("sleepers", "watch", 0).folder.name


def test_every_step_has_its_labelled_rows(tmp_path, watch):
    experiment = few(tmp_path, replace(FEW, labelled_per_batch=3))
    experiment.student("watch", labels=0.2)
    assert {int((target >= 0).sum()) for target, _, _ in watch.steps} == {3}
    watch.steps.clear()
    experiment.student("watch")  # without hidden labels there is one stream
    assert sum(len(target) for target, _, _ in watch.steps) == FEW.epochs * len(
        experiment.splits().train
    )


def test_the_labelled_rows_alone_for_as_many_steps(tmp_path):
    train = xd.hide_labels(few(tmp_path).splits().train, 0.2)
    alone = labelled_only(train, 50)
    assert len(alone) == 50 and bool((alone.target >= 0).all())
    labelled = int((train.target >= 0).sum())
    assert set(alone.ids) == {train.ids[row] for row in (train.target >= 0).nonzero().flatten()}
    counts = [alone.ids.count(name) for name in set(alone.ids)]
    assert len(counts) == labelled and max(counts) - min(counts) <= 1
    assert has_both_kinds(train) and not has_both_kinds(alone)
    result = few(tmp_path).student(LABELLED, labels=0.2)
    assert len(result.history) == FEW.epochs
    assert not (tmp_path / "runs" / "seed0" / "teacher-belt").exists()  # it needs no teacher


def test_no_teacher_saw_the_labels_of_its_pupils(tmp_path, watch):
    changed = few(tmp_path).splits().train.group.unique()[0]

    def other_labels(root, split):
        splits = FEW.load(root, split)
        rows = splits.train.group == changed
        target = torch.where(rows, 1 - splits.train.target, splits.train.target)
        return splits._replace(train=splits.train.replace(target=target))

    seen = []
    for place, loader in (("a", FEW.load), ("b", other_labels)):
        watch.steps.clear()
        experiment = few(tmp_path / place, replace(FEW, folds=3, load=loader))
        experiment.student("watch", labels=0.2, case="cross_fitted")
        _, index, logits = (torch.cat(each) for each in zip(*watch.steps, strict=True))
        by_row = torch.zeros(len(experiment.splits().train), 2)
        by_row[index] = logits
        seen.append(by_row)
    rows = few(tmp_path).splits().train.group == changed
    assert torch.equal(seen[0][rows], seen[1][rows])
    assert not torch.equal(seen[0][~rows], seen[1][~rows])


def test_cross_fitted_runs_are_read_again(tmp_path):
    setting = replace(FEW, folds=3)
    few_crossed = {"labels": 0.2, "case": "cross_fitted"}
    first = few(tmp_path, setting).student("kd", **few_crossed)
    (tmp_path / "runs" / Trial("sleepers", "kd", 0, **few_crossed).folder / "result.json").unlink()
    again = few(tmp_path, setting).student("kd", **few_crossed)
    assert again.history == first.history and again.predicted == first.predicted


def test_labelled_rows_alone_take_as_many_steps_as_two_streams(tmp_path):
    train = xd.hide_labels(few(tmp_path).splits().train, 0.2)
    for batch_size, labelled in ((8, 3), (8, None), (16, 1), (7, 6)):
        streams = xd.paired_loader(
            train, batch_size, shuffle=True, labelled_per_batch=labelled, balanced=bool(labelled)
        )
        alone = labelled_only(train, epoch_rows(train, batch_size, labelled))
        steps = len(list(xd.paired_loader(alone, batch_size)))
        assert steps == len(list(streams))


def test_balanced_classes_are_passed_on(tmp_path, watch):
    def rare(root, split):
        """One row in six is of class 1."""
        splits = FEW.load(root, split)
        target = (torch.arange(len(splits.train)) % 6 == 0).long()
        return splits._replace(train=splits.train.replace(target=target))

    share = {}
    for balanced in (False, True):
        watch.steps.clear()
        setting = replace(FEW, load=rare, epochs=4, labelled_per_batch=4, balanced=balanced)
        few(tmp_path / str(balanced), setting).student("watch", labels=0.5)
        target = torch.cat([target for target, _, _ in watch.steps])
        share[balanced] = float((target[target >= 0] == 1).float().mean())
    assert share[True] == 0.5 and share[False] < 0.3
    with pytest.raises(ValueError, match="balanced .* needs labelled_per_batch"):
        replace(FEW, balanced=True)


def test_pseudo_labels_are_a_method(tmp_path):
    result = few(tmp_path).student("pseudo_label", labels=0.2)
    assert {"train/cross_entropy", "train/pseudo_label"} <= set(result.history[0])
