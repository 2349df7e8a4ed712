import json

import pytest
import torch

from xdistill.experiment import Result, Trial
from xdistill.experiment.run_folder import RESULT, read_outcome, write_outcome
from xdistill.metrics import score
from xdistill.report import (
    gain,
    interval,
    paired_difference,
    read_json,
    summarise,
    table,
    write_json,
)


def scores(right: int, rows: int = 20, classes: int = 4):
    target = torch.arange(rows) % classes
    predicted = torch.where(torch.arange(rows) < right, target, (target + 1) % classes)
    return score(predicted, target, classes)


def test_scores_of_a_confusion_written_by_hand():
    target = torch.tensor([0, 0, 0, 1, 1, 2, -1])
    predicted = torch.tensor([0, 0, 1, 1, 1, 0, 2])
    one = score(predicted, target, 3)
    assert one.confusion == ((2, 1, 0), (0, 2, 0), (1, 0, 0))
    assert one.accuracy == pytest.approx(4 / 6)
    assert one.f1_per_class == pytest.approx((4 / 6, 4 / 5, 0))
    assert one.macro_f1 == pytest.approx((4 / 6 + 4 / 5) / 3)
    expected = (3 * 3 + 2 * 3 + 1 * 0) / 36
    assert one.kappa == pytest.approx((4 / 6 - expected) / (1 - expected))


def test_an_interval_is_students():
    # t(0.975, 4) = 2.776; the standard deviation of 1..5 is sqrt(2.5).
    one = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert one.mean == 3
    assert one.half_width == pytest.approx(2.776 * 2.5**0.5 / 5**0.5, abs=1e-3)
    assert interval([0.5]).half_width is None


def test_a_difference_is_paired_by_seed():
    baseline, runs = [scores(8), scores(16)], [scores(9), scores(17)]
    difference = paired_difference(runs, baseline)["accuracy"]
    assert difference["mean"] == pytest.approx(0.05)
    assert difference["half_width"] == pytest.approx(0, abs=1e-6)


def test_the_table_holds_every_method_and_class():
    entries = {"teacher": summarise([scores(18), scores(19)]), "sacd": summarise([scores(10)])}
    text = table(entries, ("a", "b", "c", "d"))
    rows = text.splitlines()
    assert rows[0].split()[:3] == ["accuracy", "macro-F1", "kappa"]
    assert rows[2].startswith("teacher") and "92.5 ±" in rows[2]
    assert rows[3].split()[:2] == ["sacd", "50.0"]
    assert len({len(row) for row in rows}) == 1


def test_the_calibration_error_has_a_column_only_where_there_is_one():
    target = torch.arange(20) % 4
    logits = torch.nn.functional.one_hot(target, 4).float()
    known, unknown = summarise([score(logits, target, 4)]), summarise([scores(10)])
    assert known["ece"] == known["runs"][0]["ece"] > 0 and "ece" not in unknown
    assert known["confidence_95"]["ece"] is None
    rows = table({"student": known, "indices": unknown}, ("a", "b", "c", "d")).splitlines()
    assert rows[0].split()[:4] == ["accuracy", "macro-F1", "kappa", "ECE"]
    assert rows[2].split()[4] == f"{100 * known['ece']:.1f}"
    assert len({len(row) for row in rows}) == 1
    assert "ECE" not in table({"indices": unknown}, ("a", "b", "c", "d"))


def test_one_run_without_a_calibration_error_leaves_it_out_of_the_mean():
    target = torch.arange(20) % 4
    logits = torch.nn.functional.one_hot(target, 4).float()
    assert "ece" not in summarise([score(logits, target, 4), scores(10)])


def entries(**right: list[int]) -> dict:
    """An entry per method, from how many of 20 rows each seed predicts correctly."""
    found = {}
    for name, seeds in right.items():
        found[name] = summarise([scores(one) for one in seeds])
        found[name]["val_macro_f1"] = [scores(one).macro_f1 for one in seeds]
    return found


METHODS, BASELINES = ("labelled", "kd", "sacd"), ("labelled", "pseudo_label")


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"kd": [16], "labelled": [12]}, "kd against labelled, the best baseline: +20.0 macro-F1"),
        ({"kd": [16], "labelled": [12]}, "+20.0 accuracy (1 seed): a gain, as far as a single"),
        ({"kd": [8], "labelled": [12]}, "(1 seed): a loss, as far as a single seed can tell."),
        ({"kd": [12], "labelled": [12]}, "+0.0 accuracy (1 seed): within noise."),
        ({"kd": [4], "labelled": [2], "student": [12]}, "kd against student, the best baseline"),
        ({"kd": [14, 15, 16], "labelled": [10, 11, 12]}, "± 0.0 accuracy (3 seeds): a gain."),
        ({"kd": [10, 11, 12], "labelled": [14, 15, 16]}, "(3 seeds): a loss."),
        ({"kd": [10, 14, 12], "labelled": [12, 11, 12]}, "(3 seeds): within noise."),
    ],
)
def test_what_was_gained_is_said_whichever_way_it_falls(right, said):
    found = entries(**{"student": [0] * len(right["kd"]), "sacd": [0] * len(right["kd"]), **right})
    assert said in gain(found, METHODS, BASELINES)


def test_the_method_is_chosen_on_validation():
    found = entries(student=[0], labelled=[10], kd=[12], sacd=[14])
    found["kd"]["val_macro_f1"], found["sacd"]["val_macro_f1"] = [0.9], [0.1]
    assert gain(found, METHODS, BASELINES).startswith("kd against labelled")


def test_baselines_alone_gain_nothing():
    assert "only baselines" in gain(entries(student=[0], labelled=[1]), ("labelled",), BASELINES)


def test_a_result_from_before_the_calibration_error_is_still_read(tmp_path):
    one = Result(scores(3), scores(5), 0, 1.0, [], [])
    write_outcome(tmp_path, Trial("a", "kd", 0), one)
    kept = read_json(tmp_path / RESULT)
    assert kept["val"].pop("ece", 0) is None and kept["test"].pop("ece", 0) is None
    write_json(tmp_path / RESULT, kept)
    assert read_outcome(tmp_path) == one


def test_json_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {("no", "key"): 1})
    assert read_json(path) == {"a": 1}
    path.write_text("{")
    with pytest.raises(ValueError, match="results.json is not valid JSON"):
        read_json(path)
    assert json.loads('{"a": 1}') == {"a": 1}
