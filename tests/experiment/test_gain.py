"""What was gained is said whichever way it falls."""

import pytest
import torch

from xdistill.experiment.gain import gain
from xdistill.metrics import Scores, score
from xdistill.report import summarise

METHODS = ("labelled", "kd", "sacd")


def scores(right: int) -> Scores:
    """Of 20 rows of four classes so many are right; macro-F1 is the accuracy for multiples of 4."""
    target = torch.arange(20) % 4
    predicted = torch.where(torch.arange(20) < right, target, (target + 1) % 4)
    return score(predicted, target, 4)


def results(**right: list[int]) -> dict:
    """An entry per method, from how many of 20 rows each seed predicts correctly."""
    found = {}
    for name, seeds in right.items():
        found[name] = summarise([scores(one) for one in seeds])
        found[name]["val_macro_f1"] = [scores(one).macro_f1 for one in seeds]
    return found


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"kd": [16], "labelled": [12]}, "kd against labelled, the best baseline: +20.0 macro-F1"),
        ({"kd": [16], "labelled": [12]}, "+20.0 accuracy (1 seed), a gain as far as one seed can"),
        ({"kd": [8], "labelled": [12]}, "(1 seed), a loss as far as one seed can tell;"),
        ({"kd": [12], "labelled": [12]}, "+0.0 accuracy (1 seed), within noise;"),
        ({"kd": [4], "labelled": [2], "student": [12]}, "kd against student, the best baseline"),
        ({"kd": [14, 15, 16], "labelled": [10, 11, 12]}, "± 0.0 accuracy (3 seeds), a gain;"),
        ({"kd": [10, 11, 12], "labelled": [14, 15, 16]}, "(3 seeds), a loss;"),
        ({"kd": [10, 14, 12], "labelled": [12, 11, 12]}, "(3 seeds), within noise;"),
        ({"kd": [8], "labelled": [4], "bound": [16]}, "has 0.0, with all labels it has 80.0."),
    ],
)
def test_the_sentence(right, said):
    count = len(right["kd"])
    found = results(**{"student": [0] * count, "sacd": [0] * count, **right})
    assert said in gain(found, METHODS)


def test_the_method_is_chosen_on_validation_and_the_baseline_on_test():
    found = results(student=[0], labelled=[8], pseudo_label=[10], kd=[12], sacd=[14])
    found["kd"]["val_macro_f1"], found["sacd"]["val_macro_f1"] = [0.9], [0.1]
    assert gain(found, METHODS).startswith("kd against pseudo_label")


def test_baselines_alone_gain_nothing():
    assert "only baselines" in gain(results(student=[0], labelled=[1]), ("labelled",))
