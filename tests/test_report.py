import json
import math
import random
from dataclasses import replace

import pytest
import torch

from xdistill.experiment import Result, Trial
from xdistill.experiment.run_folder import RESULT, read_outcome, write_outcome
from xdistill.experiment.tables import benchmark_table
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


def test_a_flipped_bit_never_changes_a_result(tmp_path):
    """Of 300 flips 40 gave another result silently, an accuracy of 17 among them."""
    write_outcome(tmp_path, Trial("a", "kd", 0), Result(scores(3), scores(5), 0, 1.5, [], [1, 2]))
    right, path = read_outcome(tmp_path), tmp_path / RESULT
    whole, draw, noticed = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            again = read_outcome(tmp_path)
        except ValueError as error:
            assert RESULT in str(error)
            noticed += 1
        else:
            assert again == right, f"bit {bit} of byte {at}"
    assert noticed == 300


def test_a_file_without_a_checksum_is_read_only_where_that_is_said(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"a": 1}')
    assert read_json(path, checked=False) == {"a": 1}
    with pytest.raises(ValueError, match=r"results\.json has no checksum: it was edited by hand"):
        read_json(path)
    write_json(path, {"a": 1, "nan": float("nan"), 3: "é"})
    assert read_json(path)["3"] == "é"
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(ValueError, match="does not match its checksum: it was edited by hand"):
        read_json(path, checked=False)
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="holds a list, expected an object"):
        read_json(path)


@pytest.mark.parametrize("content", [{}, {"val": 3}, {"error": "no", "minutes": 3}])
def test_a_foreign_result_is_one_sentence(tmp_path, content):
    write_json(tmp_path / RESULT, content)
    with pytest.raises(ValueError, match=r"result\.json is not the result of a run .*; delete it"):
        read_outcome(tmp_path)


def test_a_number_that_is_not_defined_is_null_and_a_dash(tmp_path):
    one_class = replace(scores(12), kappa=math.nan)
    found = {"kd": summarise([one_class, one_class])}
    write_json(tmp_path / "results.json", {**found, "worst": -math.inf})
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    kept = read_json(tmp_path / "results.json")
    assert kept["kd"]["kappa"] is None and kept["kd"]["accuracy"] == pytest.approx(0.6)
    for entries in (found, {"kd": kept["kd"]}):
        assert table(entries, "abcd").splitlines()[2].split()[:5] == [
            "kd",
            "60.0",
            "±",
            "0.0",
            "60.0",
        ]
        assert "–" in table(entries, "abcd")
    assert "| – |" in benchmark_table(kept)
