"""Predictions and scores, and what they refuse."""

import math

import pytest
import torch

import xdistill as xd
from xdistill.metrics import predict, score
from xdistill.multi_label import predict_multi_label


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
