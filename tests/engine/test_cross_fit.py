import pytest
import torch

import xdistill as xd
from tests.toy import ToyEncoder, toy_data

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "max_epochs": 4}


def make():
    return ToyEncoder("rich", 3, 8)


def crossed(data, tmp_path, **options):
    options = {"folds": 3, "batch_size": 16, "lr": 0.02, **QUIET, **options}
    return xd.cross_fit_teacher(data, make, "rich", root=tmp_path, **options)


def outputs(result) -> torch.Tensor:
    assert result.dataset.cached["rich"].logits is not None
    return torch.cat(
        [result.dataset.cached["rich"].logits, result.dataset.cached["rich"].embedding], 1
    )


def test_no_row_is_taught_by_a_teacher_that_saw_its_label(tmp_path):
    data = toy_data(120)  # twenty groups of six
    before = crossed(data, tmp_path)
    for number in range(3):
        # Other labels in a fold reach the teachers of the other folds, and not its own rows.
        fold = before.fold == number
        target = torch.where(fold, (data.target + 1) % 3, data.target)
        after = crossed(data.replace(target=target), tmp_path)
        assert torch.equal(outputs(after)[fold], outputs(before)[fold])
        assert not torch.equal(outputs(after)[~fold], outputs(before)[~fold])


def test_the_outputs_are_those_of_the_folds_teachers(tmp_path):
    data = toy_data(90)
    result = crossed(data, tmp_path)
    assert len(result.teachers) == len(result.results) == 3
    assert sorted(set(result.fold.tolist())) == [0, 1, 2]
    assert all(len(data.group[result.fold == k].unique()) == 5 for k in range(3))
    for number, teacher in enumerate(result.teachers):
        assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
        rows = result.fold == number
        expected = teacher(data.inputs["rich"][rows])
        torch.testing.assert_close(result.dataset.cached["rich"].logits[rows], expected.logits)
        torch.testing.assert_close(
            result.dataset.cached["rich"].embedding[rows], expected.embedding
        )
    assert result.dataset.modalities == ("cheap",) and torch.equal(
        result.dataset.target, data.target
    )
    right = result.dataset.cached["rich"].logits.argmax(1) == data.target
    assert float(right.double().mean()) > 0.6  # it learnt, from other groups


def test_a_student_is_distilled_from_them(tmp_path):
    result = crossed(toy_data(90), tmp_path)
    student = ToyEncoder("cheap", 6, 8)
    distiller = xd.Distiller(student, result.teachers[0], xd.CrossEntropy() + xd.KD())
    found = xd.fit(distiller, xd.paired_loader(result.dataset, 16, shuffle=True), **QUIET)
    assert found.history[-1]["train/kd"] < found.history[0]["train/kd"]


def test_rows_without_the_modality_or_a_label(tmp_path):
    data = toy_data(120, unlabelled=30)
    has = torch.arange(120) % 5 != 0
    data = data.replace(valid={"rich": has})
    data.inputs["rich"][~has] = torch.nan
    result = crossed(data, tmp_path)
    assert torch.equal(result.dataset.valid["rich"], has)
    assert bool(torch.isfinite(outputs(result)).all())
    assert float(outputs(result)[~has].abs().sum()) == 0
    unlabelled = (data.target < 0) & has
    assert bool((outputs(result)[unlabelled].abs().sum(1) > 0).all())  # taught all the same


def test_finished_runs_are_read_again(tmp_path):
    data = toy_data(90)
    whole = crossed(data, tmp_path / "cache")
    crossed(data, tmp_path / "cache", run_dir=tmp_path / "runs")
    again = crossed(data, tmp_path / "cache", run_dir=tmp_path / "runs", resume=True)
    assert torch.equal(outputs(again), outputs(whole))


def test_what_cannot_be_cross_fitted_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no 'radar' to train"):
        xd.cross_fit_teacher(toy_data(), make, "radar")
    with pytest.raises(ValueError, match="folds must be from 3"):
        crossed(toy_data(), tmp_path, folds=2)
    with pytest.raises(ValueError, match="no labelled row of rich to .*fewer folds"):
        crossed(xd.keep_labels_of(toy_data(60), 1), tmp_path)


def test_a_loss_without_a_task_is_refused(tmp_path):
    with pytest.raises(ValueError, match="^the loss compares with a teacher, but there is none"):
        crossed(toy_data(60), tmp_path, loss=xd.KD())
