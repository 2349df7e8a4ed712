"""A regression, a sequence and soft labels from the dataset through fit to the scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn

import xdistill as xd
from tests.toy import CLASSES, ToyEncoder, toy_data
from xdistill.metrics import predict
from xdistill.metrics_for import metrics_for
from xdistill.multi_label import predict_multi_label
from xdistill.regression import RegressionMetrics, predict_values, score_values
from xdistill.sequence import predict_positions, score_positions

ROWS, LENGTH = 48, 5
QUIET = {"enable_progress_bar": False, "max_epochs": 8, "lr": 0.05}


class Frames(nn.Module):
    """An encoder of [B, L, F] whose logits have a class for each of the L positions."""

    def __init__(self, modality: str, features: int, classes: int = 3):
        super().__init__()
        self.modality, self.dim, self.num_classes = modality, 6, classes
        self.body, self.head = nn.Linear(features, 6), nn.Linear(6, classes)

    def forward(self, x):
        embedding = self.body(x).relu()
        return xd.Outputs(embedding, self.head(embedding))


def regression(width: int = 2) -> xd.PairedDataset:
    rich = torch.randn(ROWS, 3)
    target = rich[:, :width] * torch.tensor([3.0, 1.0])[:width] + 1.0
    target[5] = math.nan
    cheap = torch.cat([rich, rich], dim=1) + 0.1 * torch.randn(ROWS, 6)
    return xd.PairedDataset(
        {"cheap": cheap, "rich": rich}, target, classes=(), target_kind="values"
    )


def sequences() -> xd.PairedDataset:
    target = torch.randint(3, (ROWS, LENGTH))
    rich = torch.eye(3)[target] + 0.1 * torch.randn(ROWS, LENGTH, 3)
    target[:4, 2] = target[6] = -1
    return xd.PairedDataset(
        {"cheap": rich + 0.3 * torch.randn_like(rich), "rich": rich},
        target,
        classes=CLASSES,
        target_kind="sequence",
    )


def test_scores_of_values_are_those_of_scikit_learn():
    predicted, target = torch.randn(40, 2) + 1e4, torch.randn(40, 2) + 1e4
    target[3, 0] = target[7] = math.nan
    found = score_values(predicted, target)
    columns = [
        (p[~t.isnan()].double(), t[~t.isnan()].double())
        for p, t in zip(predicted.T, target.T, strict=True)
    ]
    for name, function in (
        ("mae", lambda p, t: mean_absolute_error(t, p)),
        ("rmse", lambda p, t: root_mean_squared_error(t, p)),
        ("r2", lambda p, t: r2_score(t, p)),
        ("pearson", lambda p, t: pearsonr(t, p).statistic),
    ):
        expected = np.mean([function(p.numpy(), t.numpy()) for p, t in columns])
        assert getattr(found, name) == pytest.approx(expected, abs=1e-6), name
    assert found.mae == pytest.approx(np.mean(found.mae_per_value))


def test_batches_add_up_and_a_batch_without_targets_changes_nothing():
    predicted, target = torch.randn(12, 1), torch.randn(12)
    metrics = RegressionMetrics(1)
    for part in torch.arange(12).split(5):
        metrics.update(predicted[part], target[part])
        metrics.update(predicted[part], torch.full((len(part),), math.nan))
    assert float(metrics.compute()["r2"]) == pytest.approx(score_values(predicted, target).r2)
    metrics.reset()
    with pytest.raises(ValueError, match="value 0 has no target in any row"):
        metrics.compute()


def test_what_has_no_score_says_so():
    with pytest.raises(ValueError, match="NaN, which no score"):
        score_values(torch.full((3, 1), math.nan), torch.zeros(3))
    with pytest.raises(ValueError, match=r"\[3, 2\], the target \[3\].*num_classes=1"):
        score_values(torch.zeros(3, 2), torch.zeros(3))
    one = score_values(torch.zeros(1, 1), torch.ones(1))
    assert one.mae == 1 and math.isnan(one.r2) and math.isnan(one.pearson)
    constant = score_values(torch.zeros(3, 1), torch.arange(3.0))
    assert math.isnan(constant.pearson) and constant.r2 < 0


@pytest.mark.parametrize("width", [1, 2])
def test_a_regression_is_distilled_and_scored(width):
    data = regression(width)
    student, teacher = ToyEncoder("cheap", 6, 8, width), ToyEncoder("rich", 3, 8, width)
    loss = xd.MSE() + 0.1 * xd.LogitMSE() + xd.without_labels(xd.SACD(dim=4, bank_size=16))
    distiller = xd.Distiller(student, teacher, loss, train_teacher=True, teacher_loss=xd.SmoothL1())
    loader = xd.paired_loader(data, 16, shuffle=True)
    result = xd.fit(distiller, loader, loader, monitor="val/mae", mode="min", **QUIET)
    assert result.history[-1]["val/mae"] < 0.9 * result.history[0]["val/mae"]
    found = predict_values(student, xd.paired_loader(data, 16))
    assert found.scores.mae == pytest.approx(result.best_value, rel=1e-5)
    assert found.predicted.shape == found.target.shape == (ROWS, width)
    for other, message in (
        (lambda: predict(student, loader, 2), "xdistill.regression.predict_values"),
        (lambda: predict_positions(student, loader), "expected .N, L, K. and int64"),
    ):
        with pytest.raises(ValueError, match=message):
            other()
    with pytest.raises(ValueError, match="cross_entropy reads|sum to 1"):
        xd.Distiller(student, teacher, xd.MSE(), train_teacher=True)(next(iter(loader)))


def test_a_missing_teacher_does_not_teach_its_own_task_in_a_regression():
    data = regression(1).replace(valid={"rich": torch.arange(ROWS) % 2 == 0})
    student, teacher = ToyEncoder("cheap", 6, 8, 1), ToyEncoder("rich", 3, 8, 1)
    distiller = xd.Distiller(
        student, teacher, xd.MSE(), train_teacher=True, teacher_loss=xd.MSE()
    ).eval()
    batch = next(iter(xd.paired_loader(data, ROWS)))
    keep = batch.valid["rich"] & ~batch.target.isnan().any(dim=-1)
    values = teacher(batch.inputs["rich"]).logits[keep]
    expected = (values - batch.target[keep].reshape(-1, 1)).square().mean()
    torch.testing.assert_close(distiller(batch).terms["teacher/rich"], expected.detach())


def test_a_sequence_is_distilled_and_scored():
    data = sequences()
    student, teacher = Frames("cheap", 3), Frames("rich", 3)
    loss = xd.CrossEntropy() + xd.KD() + xd.FitNet()
    loader = xd.paired_loader(data, 16, shuffle=True)
    distiller = xd.Distiller(student, teacher, loss, train_teacher=True)
    result = xd.fit(distiller, loader, loader, monitor="val/accuracy", **QUIET)
    found = predict_positions(student, xd.paired_loader(data, 16))
    known = data.target >= 0
    accuracy = float((found.predicted == data.target)[known].double().mean())
    assert found.scores.accuracy == pytest.approx(accuracy) and accuracy > 0.6
    assert result.best_value == pytest.approx(accuracy)
    assert found.predicted.shape == (ROWS, LENGTH)
    with pytest.raises(ValueError, match="predict_positions"):
        predict(student, loader, 3)
    with pytest.raises(ValueError, match="expected that of the logits"):
        predict_multi_label(student, loader)
    assert score_positions(torch.eye(3)[None], torch.tensor([[0, 1, -1]])).accuracy == 1.0


def test_a_cached_teacher_of_sequences():
    data, teacher = sequences(), Frames("rich", 3)
    cached = xd.cache_teacher(data, teacher, "rich")
    batch = next(iter(xd.paired_loader(cached, 8)))
    distiller = xd.Distiller(Frames("cheap", 3), None, xd.KD() + xd.FitNet(), example=batch)
    own = teacher(data.inputs["rich"][:8])
    torch.testing.assert_close(distiller(batch).teachers["rich"].logits, own.logits)


def test_soft_labels_are_validated_by_the_likeliest_class():
    classes = toy_data(ROWS)
    soft = torch.nn.functional.one_hot(classes.target, 3).float() * 0.7 + 0.1
    soft[:5] = math.nan
    data = classes.replace(target=soft, target_kind="soft")
    student = ToyEncoder("cheap", 6)
    loader = xd.paired_loader(data, 16)
    distiller = xd.Distiller(student, None, xd.CrossEntropy())
    result = xd.fit(distiller, loader, loader, monitor="val/accuracy", **QUIET)
    with torch.no_grad():
        answers = student.eval()(classes.inputs["cheap"]).logits.argmax(dim=1)
    right = (answers == classes.target)[5:].double().mean()
    assert result.best_value == pytest.approx(float(right))


def test_the_loss_says_whether_rows_that_sum_to_one_are_values():
    logits, shares = torch.zeros(4, 3), torch.full((4, 3), 1 / 3)
    values = metrics_for(logits, shares, nn.ModuleList([xd.MSE() + xd.RKD()]))
    labels = metrics_for(logits, shares, nn.ModuleList([xd.CrossEntropy() + xd.KD()]))
    assert isinstance(values.metrics, RegressionMetrics)
    assert not isinstance(labels.metrics, RegressionMetrics)


def test_two_teachers_of_one_modality():
    """Each has a name of its own and reads the one column."""
    data = toy_data(24)
    student = ToyEncoder("cheap", 6)
    first, second = ToyEncoder("rich", 3), ToyEncoder("rich", 3, dim=5)
    losses = {"a": xd.CrossEntropy() + xd.KD(), "b": xd.KD() + xd.RKD()}
    distiller = xd.Distiller(student, {"a": first, "b": second}, losses).eval()
    masked = data.replace(valid={"rich": torch.arange(24) % 3 != 0})
    batch = next(iter(xd.paired_loader(masked, 24)))
    step = distiller(batch)
    valid = batch.valid["rich"]
    for name, teacher in (("a", first), ("b", second)):
        own = teacher(batch.inputs["rich"]).logits
        torch.testing.assert_close(step.teachers[name].logits[valid], own[valid])
        assert not step.teachers[name].logits[~valid].any()
    assert set(step.terms) == {"a/cross_entropy", "a/kd", "b/kd", "b/rkd"}
    assert distiller.modalities_read(()) == ("rich",)
    loader = xd.paired_loader(masked, 8)
    result = xd.fit(distiller, loader, loader, max_epochs=1, enable_progress_bar=False)
    assert "train/b/kd" in result.history[0]


def test_cached_outputs_of_one_of_two_teachers_are_not_taken_for_both():
    data = toy_data(24)
    first, second = (ToyEncoder("rich", 3).eval() for _ in range(2))
    losses = {"a": xd.KD(), "b": xd.KD()}
    distiller = xd.Distiller(ToyEncoder("cheap", 6), {"a": first, "b": second}, losses).eval()
    cached = xd.cache_teacher(data, first, "rich")
    with pytest.raises(ValueError, match=r"\['a', 'b'\] all read"):
        distiller(next(iter(xd.paired_loader(cached, 8))))
    outputs = cached.cached["rich"]
    both = data.with_outputs("a", outputs).with_outputs("b", second(data.inputs["rich"]).detach())
    step = distiller(next(iter(xd.paired_loader(both, 8))))
    torch.testing.assert_close(step.teachers["a"].logits, outputs.logits[:8])
    assert not torch.equal(step.teachers["a"].logits, step.teachers["b"].logits)
    without = both.replace(inputs={"cheap": data.inputs["cheap"]})
    result = xd.fit(
        distiller, xd.paired_loader(without, 8), max_epochs=1, enable_progress_bar=False
    )
    assert "train/a/kd" in result.history[0]


def test_two_training_teachers_of_one_modality_fill_a_memory_each():
    data = toy_data(24)
    losses = {name: xd.KHN(bank_size=32) for name in "ab"}
    teachers = {name: ToyEncoder("rich", 3) for name in "ab"}
    distiller = xd.Distiller(
        ToyEncoder("cheap", 6), teachers, losses, train_teacher=True, num_samples=24
    )
    for batch in xd.paired_loader(data, 12):
        distiller(batch).loss.backward()
    assert all(teacher.body.weight.grad is not None for teacher in teachers.values())
