import json

import pytest
import torch

from xdistill.experiment import Result, Trial
from xdistill.experiment.run_folder import RESULT, read_outcome, write_outcome
from xdistill.metrics import score
from xdistill.report import (
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
