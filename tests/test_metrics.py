"""Predictions and scores, and what they refuse."""

import math

import pytest
import torch
from torch import nn

import xdistill as xd
from tests.toy import toy_data, toy_encoders
from xdistill.data.loader import paired_loader
from xdistill.metrics import calibration_error, logits_and_targets, predict, score
from xdistill.multi_label import predict_multi_label, score_multi_label
from xdistill.types import Outputs, PairedBatch


def rows(*, several: bool = False) -> xd.PairedDataset:
    target = torch.tensor([0, 1, 2, 0, 1, -1])
    known = torch.nn.functional.one_hot(target.clamp(min=0), 3)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    classes = ("a", "b", "c")
    return xd.PairedDataset({"tabular": features}, known if several else target, classes=classes)


def encoder(num_classes: int | None = 3) -> torch.nn.Module:
    return xd.create_encoder("mlp", in_features=4, num_classes=num_classes)


def test_scores_in_closed_form():
    answers, target = torch.tensor([0, 0, 1, 1, 1, 0]), torch.tensor([0, 0, 0, 1, 1, -1])
    found = score(answers, target, 2)
    assert found.accuracy == pytest.approx(4 / 5)
    assert found.f1_per_class == pytest.approx((4 / 5, 4 / 5))
    assert found.kappa == pytest.approx((4 / 5 - 12 / 25) / (1 - 12 / 25))
    assert found.confusion == ((2, 1), (0, 2))


def test_calibration_error_in_closed_form():
    """Two rows of confidence 0.8, one right; two of 0.6, both right; one that has no label."""
    confidence = torch.tensor([0.8, 0.8, 0.6, 0.6, 0.99])
    logits = torch.stack([confidence.log(), (1 - confidence).log()], dim=1)
    target = torch.tensor([0, 1, 0, 0, -1])
    assert score(logits, target, 2).ece == pytest.approx((2 * 0.3 + 2 * 0.4) / 4)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_calibration_error_against_a_slow_twin(scale):
    generator = torch.Generator().manual_seed(3)
    logits = scale * torch.randn(400, 4, generator=generator)
    target = torch.randint(0, 4, (400,), generator=generator)
    bins = [[] for _ in range(15)]
    for row, label in zip(logits.double().tolist(), target.tolist(), strict=True):
        terms = [math.exp(one - max(row)) for one in row]
        bins[min(14, int(15 / sum(terms)))].append((1 / sum(terms), row.index(max(row)) == label))
    gaps = [abs(sum(conf for conf, _ in one) - sum(right for _, right in one)) for one in bins]
    assert calibration_error(logits, target) == pytest.approx(sum(gaps) / 400, abs=1e-6)


def test_logits_between_0_and_1_are_not_taken_for_probabilities():
    logits, target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0])
    assert calibration_error(logits, target) == pytest.approx(1 - 1 / (1 + math.exp(-1)))


def test_without_probabilities_or_labels_there_is_no_calibration_error():
    assert score(torch.tensor([0, 1]), torch.tensor([0, 1]), 2).ece is None
    assert calibration_error(torch.randn(2, 3), torch.tensor([-1, -1])) is None


def test_predictions_are_in_the_order_of_the_rows():
    network, data = encoder(), rows()
    found = predict(network, xd.paired_loader(data, 4), 3)
    expected = network.eval()(data.inputs["tabular"]).logits.argmax(dim=1)
    assert found.predicted.equal(expected) and found.target.tolist() == [0, 1, 2, 0, 1, -1]


@pytest.mark.parametrize("predictor", [lambda n, d: predict(n, d, 3), predict_multi_label])
def test_a_row_without_a_number_is_not_taken_for_a_prediction(predictor):
    network, data = encoder(), rows(several=predictor is predict_multi_label)
    data.inputs["tabular"][4, 2] = math.nan
    with pytest.raises(ValueError, match=r"NaN in 1 of 6 rows \(first: row 4\)"):
        predictor(network, xd.paired_loader(data, 4))
    assert network.training


def test_an_encoder_without_a_classifier_is_refused_and_keeps_its_mode():
    network = encoder(num_classes=None)
    with pytest.raises(ValueError, match="create it with num_classes"):
        predict(network, xd.paired_loader(rows(), 4), 3)
    assert network.training


def test_one_class_per_row_and_several_are_told_apart():
    with pytest.raises(ValueError, match=r"shape \[6, 3\].*xdistill.multi_label.predict_multi_lab"):
        predict(encoder(), xd.paired_loader(rows(several=True), 4), 3)
    with pytest.raises(ValueError, match=r"shape \[6\].*xdistill.metrics.predict"):
        predict_multi_label(encoder(), xd.paired_loader(rows(), 4))


@pytest.mark.parametrize(
    ("answers", "target", "classes", "why"),
    [
        (torch.full((3, 4), torch.nan), [0, 1, 2], 4, "logits are NaN in 3 of 3 rows"),
        (torch.randn(3, 4), [0, 1, 2], 7, "num_classes is 7 but the logits have 4 columns"),
        (torch.randn(3, 4), [-1, -1, -1], 4, "none of the 3 rows is labelled"),
        (torch.randn(0, 4), [], 4, "none of the 0 rows is labelled"),
        (torch.randn(3, 4), [0, 1, 4], 4, "target holds classes from 0 to 4"),
        (torch.tensor([0, 1, 9]), [0, 1, 2], 4, "answers hold classes from 0 to 9"),
        (torch.randn(2, 4), [0, 1, 2], 4, "2 answers for 3 targets"),
    ],
)
def test_a_score_of_nothing_is_refused(answers, target, classes, why):
    with pytest.raises(ValueError, match=why):
        score(answers, torch.tensor(target, dtype=torch.int64), classes)


@pytest.mark.parametrize(
    ("logits", "target", "why"),
    [
        (torch.full((3, 4), torch.nan), torch.ones(3, 4, dtype=torch.int64), "are NaN in 3 of 3"),
        (torch.randn(3, 4), torch.full((3, 4), -1), "none of the 3 rows is labelled"),
        (torch.randn(3, 4), torch.ones(3, 5, dtype=torch.int64), "expected that of the logits"),
    ],
)
def test_a_score_of_several_classes_refuses_nothing_too(logits, target, why):
    with pytest.raises(ValueError, match=why):
        score_multi_label(logits, target)


def test_predicting_leaves_each_module_in_its_own_mode():
    """A BatchNorm that is frozen in a network that trains stays frozen."""
    network = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Linear(2, 3)).train()
    network[0].eval()
    network.modality = "eeg"
    network.forward = lambda x: Outputs(x, network[1](x))
    batch = PairedBatch({"eeg": torch.randn(4, 2)}, torch.tensor([0, 1, 2, 0]))
    logits_and_targets(network, [batch])
    assert network.training and network[1].training and not network[0].training


def test_unlabelled_rows_are_predicted_and_not_scored():
    data = toy_data(12)
    student, _ = toy_encoders()
    loader = paired_loader(data.replace(target=torch.full((12,), -1)), 5)
    found = predict(student, loader, 3)
    assert found.scores is None and found.probabilities.shape == (12, 3)
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(12))
    assert torch.equal(found.probabilities.argmax(dim=1), found.predicted)
    with pytest.raises(ValueError, match="none of the 12 rows is labelled, so there are no scores"):
        _ = found.scored
    labelled = predict(student, paired_loader(data, 5), 3)
    assert torch.equal(labelled.predicted, found.predicted)
    assert labelled.scores is not None and labelled.scored is labelled.scores
    with pytest.raises(ValueError, match="num_classes is 7 but the logits have 3 columns"):
        predict(student, loader, 7)


def test_kappa_of_one_class_is_not_a_number():
    ones = torch.ones(4, dtype=torch.int64)
    assert math.isnan(score(ones, ones, 3).kappa)
