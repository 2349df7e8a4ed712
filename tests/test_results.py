"""The committed results are whole, and the page's tables are made from them."""

import runpy
import sys
from pathlib import Path

import pytest

from xdistill.registry import list_losses
from xdistill.report import SCALARS, interval, read_json

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
DISTILLED = [path for path in RESULTS if "teacher" in read_json(path)]


def test_there_are_results():
    assert {path.stem for path in RESULTS} >= {
        "kernels",
        "losses",
        "overhead",
        "s3ve",
        "utd_mhad-inertial",
        "utd_mhad-inertial-labels25",
    }


@pytest.mark.parametrize("path", DISTILLED, ids=lambda path: path.stem)
def test_every_mean_follows_from_the_runs_that_are_kept(path):
    results = read_json(path)
    assert results["versions"]["torch"] and results["device"]
    entries = {
        name: one for name, one in results.items() if isinstance(one, dict) and "runs" in one
    }
    assert {"teacher", "student", "sacd", "kd"} <= set(entries)
    for entry in entries.values():
        assert len(entry["runs"]) == len(results["seeds"])
        for name in SCALARS:
            one = interval([run[name] for run in entry["runs"]])
            assert entry[name] == pytest.approx(one.mean)
            assert entry["confidence_95"][name] == pytest.approx(one.half_width)


def test_the_cost_of_every_loss_is_known():
    costs = read_json(ROOT / "benchmarks/results/losses.json")["costs"]
    assert set(costs) == {"64", "256", "1024"}
    for measured in costs.values():
        assert set(list_losses()) <= set(measured)
        assert all(one["milliseconds"] > 0 < one["peak_megabytes"] for one in measured.values())


def test_the_tables_of_the_pages_are_up_to_date(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    write_up = runpy.run_path(str(ROOT / "benchmarks" / "write_up.py"))
    slots = [
        slot for page in write_up["PAGES"] for slot in write_up["SLOT"].finditer(page.read_text())
    ]
    assert {"utd_mhad-inertial", "s3ve", "kernels-figures", "kernels-targets"} <= {
        slot["name"] for slot in slots
    }
    for slot in slots:
        assert slot[0] == slot[1] + write_up["table_of"](slot["name"]) + slot[3]
