"""What teachers saw of the rows that they teach, in each case."""

from dataclasses import replace

import pytest
import torch

import xdistill as xd
from tests.experiment.test_few_labels import FEW, Watch, few, watch  # noqa: F401 (a fixture)
from xdistill.experiment import CASES, Experiment, Setting, TeacherTrial, Trial
from xdistill.experiment.case import check_case, folds_of, set_aside

HALF = replace(FEW, teacher_share=0.5, folds=3)


def seen_by_teacher(experiment: Experiment, case: str) -> xd.PairedDataset:
    return experiment._teacher(TeacherTrial("sleepers", "belt", 0, case=case)).splits.train


def test_a_transfer_teacher_and_the_pairs_share_no_group(tmp_path):
    experiment = few(tmp_path, HALF)
    pairs, seen = experiment.splits().train, seen_by_teacher(experiment, "transfer")
    whole = HALF.load(tmp_path, 0).train
    assert not set(pairs.group.tolist()) & set(seen.group.tolist())
    assert sorted((*pairs.ids, *seen.ids)) == sorted(whole.ids)
    groups = len(whole.group.unique())
    assert len(seen.group.unique()) == groups // 2
    assert seen_by_teacher(experiment, "in_sample").ids == pairs.ids


@pytest.mark.parametrize(("share", "groups", "aside"), [(0.01, 4, 1), (0.5, 3, 1), (0.99, 5, 4)])
def test_whole_groups_are_set_aside_and_some_left_on_either_side(share, groups, aside):
    data = xd.PairedDataset(
        {"a": torch.arange(3 * groups)},
        [0, 1, 0] * groups,
        classes=("x", "y"),
        group=torch.arange(3 * groups) // 3,
    )
    teacher, pairs = set_aside(data, share, seed=0)
    assert teacher is not None and len(teacher) == 3 * aside and len(pairs) == 3 * (groups - aside)
    chosen = {tuple(set_aside(data, share, seed).pairs.ids) for seed in range(20)}
    assert len(chosen) > 1 and set_aside(data, share, 0).pairs.ids == pairs.ids


def test_a_single_group_cannot_be_divided():
    data = xd.PairedDataset({"a": torch.zeros(3)}, [0, 1, 0], classes=("x", "y"), group=[7, 7, 7])
    assert set_aside(data, 0.0, 0).pairs is data and set_aside(data, 0.0, 0).teacher is None
    with pytest.raises(ValueError, match="of a single one; take more groups"):
        set_aside(data, 0.5, 0)


@pytest.mark.parametrize(("groups", "folds", "dealt"), [(9, 4, 4), (3, 4, 3), (2, 4, 3)])
def test_few_groups_are_dealt_into_one_fold_each(groups, folds, dealt):
    data = xd.PairedDataset(
        {"a": torch.zeros(2 * groups)},
        [0, 1] * groups,
        classes=("x", "y"),
        group=torch.arange(2 * groups) // 2,
    )
    assert folds_of(data, folds) == dealt  # two groups are refused by cross_fit_teacher


def test_students_of_the_three_cases_see_the_same_pairs_and_labels(tmp_path, watch):  # noqa: F811
    experiment, seen, outputs = few(tmp_path, HALF), {}, {}
    for case in CASES:
        Watch.steps.clear()
        experiment.student("watch", labels=0.3, case=case)
        target, index, logits = (torch.cat(each) for each in zip(*watch.steps, strict=True))
        seen[case], outputs[case] = (target.tolist(), index.tolist()), logits
    assert seen["transfer"] == seen["cross_fitted"] == seen["in_sample"]
    assert set(seen["transfer"][1]) == set(range(len(experiment.splits().train)))
    for one, other in (("transfer", "in_sample"), ("cross_fitted", "in_sample")):
        assert not torch.equal(outputs[one], outputs[other])


def logits_of(tmp_path, setting: Setting, case: str) -> torch.Tensor:
    """The teacher's logits of every pair."""
    experiment = few(tmp_path, setting)
    _, train = experiment._teach(0, case)
    logits = train.cached["belt"].logits
    assert logits is not None
    return logits


def test_labels_of_the_pairs_reach_no_transfer_teacher(tmp_path):
    pairs = few(tmp_path, HALF).splits().train

    def other_labels(root, split):
        splits = HALF.load(root, split)
        rows = torch.isin(splits.train.group, pairs.group)
        target = torch.where(rows, 1 - splits.train.target, splits.train.target)
        return splits._replace(train=splits.train.replace(target=target))

    changed = replace(HALF, load=other_labels)
    for case, same in (("transfer", True), ("in_sample", False)):
        before, after = (
            logits_of(tmp_path / name / case, setting, case)
            for name, setting in (("a", HALF), ("b", changed))
        )
        assert torch.equal(before, after) is same


def test_a_row_dealt_alone_is_taught_by_a_teacher_that_saw_others_of_its_group(tmp_path):
    row = 4

    def other_label(root, split):
        splits = FEW.load(root, split)
        target = splits.train.target.clone()
        target[row] = 1 - target[row]
        return splits._replace(train=splits.train.replace(target=target))

    for fold_rows in (True, False):
        setting = replace(FEW, folds=3, fold_rows=fold_rows)
        before, after = (
            logits_of(tmp_path / f"{name}{fold_rows}", one, "cross_fitted")
            for name, one in (("a", setting), ("b", replace(setting, load=other_label)))
        )
        group = (few(tmp_path).splits().train.group == 1).nonzero().flatten().tolist()
        assert row in group and torch.equal(before[row], after[row])
        others = [one for one in group if one != row]
        assert torch.equal(before[others], after[others]) is not fold_rows


def test_a_teacher_of_another_corpus_leaves_all_rows_to_the_students(tmp_path):
    def foreign(root, split):
        train = FEW.load(root, split + 7).train
        return train.replace(ids=[f"foreign{row}" for row in range(len(train))])

    setting = replace(FEW, teacher_load=foreign)
    experiment = few(tmp_path, setting)
    assert len(experiment.splits().train) == len(FEW.load(tmp_path, 0).train)
    assert all(name.startswith("foreign") for name in seen_by_teacher(experiment, "transfer").ids)
    assert experiment.student("kd", labels=0.3, case="transfer").predicted
    swapped = replace(
        FEW, teacher_load=lambda *at: foreign(*at).replace(classes=("asleep", "awake"))
    )
    with pytest.raises(ValueError, match="map them to the same ones in the same order"):
        few(tmp_path / "swapped", swapped).teacher("belt", case="transfer")


def test_transfer_without_other_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--teacher-share 0.5.*Setting.teacher_load"):
        few(tmp_path).student("kd", case="transfer")
    with pytest.raises(ValueError, match="unknown case 'elsewhere'; the cases are transfer"):
        check_case("elsewhere", FEW)
    few(tmp_path).student("labelled", labels=0.3, case="transfer")  # it has no teacher


def test_students_without_a_teacher_are_run_once():
    for method in ("student", "labelled"):
        assert len({Trial("a", method, 0, case=case) for case in CASES}) == 1
    assert len({Trial("a", "kd", 0, case=case).folder for case in CASES}) == 3
    assert len({TeacherTrial("a", "belt", 0, case=case).folder for case in CASES}) == 3


def test_twice_the_epochs(tmp_path):
    once = few(tmp_path).student("kd", labels=0.3)
    twice = few(tmp_path).student("kd", labels=0.3, epochs=2.0)
    assert len(twice.history) == 2 * len(once.history)


def test_the_cross_fitted_teacher_is_reported_as_the_one_of_all_pairs(tmp_path):
    experiment = few(tmp_path, HALF)
    crossed = experiment.teacher("belt", case="cross_fitted")
    assert crossed.predicted == experiment.teacher("belt").predicted
    assert crossed.predicted != experiment.teacher("belt", case="transfer").predicted
