"""The committed results are whole, and the page's tables are made from them."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from xdistill.experiment import BASELINES, UNTAUGHT
from xdistill.experiment.suite import METHODS
from xdistill.registry import list_losses
from xdistill.report import SCALARS, interval, read_json

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
DISTILLED = [path for path in RESULTS if "teacher" in read_json(path, checked=False)]


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
    results = read_json(path, checked=False)
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
    costs = read_json(ROOT / "benchmarks/results/losses.json", checked=False)["costs"]
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
    assert {
        *("utd_mhad-inertial", "s3ve", "kernels-figures", "kernels-targets"),
        *("suite-ranks-transfer", "suite-room", "suite-targets", "suite-av_digits"),
        *("suite-twice", "suite-labels-transfer", "suite-subjects-cross_fitted"),
        *("sacd_parts", "sacd_combinations", "sacd_targets"),
    } <= {slot["name"] for slot in slots}
    for slot in slots:
        assert slot[0] == write_up["written"](slot)


def suite_runs() -> list[dict[str, str]]:
    with (ROOT / "benchmarks/results/suite_runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_suite_has_what_it_promises():
    results = read_json(ROOT / "benchmarks/results/suite.json", checked=False)
    settings = results["settings"]
    assert set(settings) == {
        "utd_mhad-inertial",
        *(f"sleep_edf_features-{student}" for student in ("eog", "eeg_pz", "eog_context")),
        "av_digits",
        *(f"uci_mfeat-{pair}" for pair in ("fac", "pix", "fou_zer", "mor_fac", "mor_kar")),
        "mfh_gaussian",
    }
    assert results["seeds"] == [0, 1, 2, 3, 4] and results["versions"]["torch"]
    assert results["cases"] == ["transfer", "cross_fitted", "in_sample"]
    assert not results["failures"]
    for curves in results["curves"].values():
        assert set(curves) == {"transfer", "cross_fitted"}
        for kinds in curves.values():
            assert set(kinds["rows"]) == {"student", *BASELINES, "kd", "dist", "sacd", "recipe"}
    for setting in settings.values():
        for case in results["cases"]:
            assert set(setting["methods"][case]) == {"student", *BASELINES, *METHODS}
            assert setting["baseline"][case] in BASELINES
        assert set(setting["twice"]) == {"bound", "labelled", "dist"}
        assert setting["bound"] and all(len(one) == 3 for one in setting["teachers"].values())


def test_the_means_of_the_suite_follow_from_its_runs():
    results = read_json(ROOT / "benchmarks/results/suite.json", checked=False)
    runs = suite_runs()
    assert results["runs"] == len(runs)
    keys = ("setting", "method", "case", "seed", "lr_factor", "strength", "labels", "targets")
    once = [run for run in runs if not run["error"] and run["epochs"] in ("", "1")]
    found = {tuple(run[key] for key in keys): run for run in once if not run["groups"]}
    for name, setting in results["settings"].items():
        labels = f"{setting['labels']:.4g}"
        for case, methods in setting["methods"].items():
            for method, entry in methods.items():
                of = "in_sample" if method in UNTAUGHT else case
                values = [
                    float(found[name, method, of, *number]["test_macro_f1"])
                    for number in (
                        (str(seed), f"{lr:.4g}", f"{strength:.4g}", labels, targets)
                        for seed, (lr, strength, targets) in enumerate(
                            zip(
                                *(entry[key] for key in ("lr_factor", "strength", "targets")),
                                strict=True,
                            )
                        )
                    )
                ]
                one = interval(values)
                assert entry["macro_f1"] == pytest.approx(one.mean, abs=1e-4)
                assert entry["confidence_95"]["macro_f1"] == pytest.approx(one.half_width, abs=1e-3)


@pytest.mark.parametrize(
    ("study", "conditions", "of_it"),
    [
        ("parts", 8, {"sacd/structure_only", "sacd/contrast_only"}),
        ("combinations", 22, {"dist", "dist+sacd", "dist+sacd/bank_0"}),
        ("targets", 7, {"labelled", "pseudo_label", "corrected+dist"}),
    ],
)
def test_the_ablation_counts_every_condition_once(study, conditions, of_it):
    results = read_json(ROOT / f"benchmarks/results/sacd_{study}.json", checked=False)
    assert len(results["runs"]) == results["conditions"] == len(results["mean"]) == conditions
    for condition, methods in results["runs"].items():
        assert {"sacd", "student", *of_it} <= set(methods)
        for method, values in methods.items():
            assert results["mean"][condition][method] == pytest.approx(sum(values) / len(values))
    for method, gap in results["difference_to_sacd"].items():
        each = [one[method] - one["sacd"] for one in results["mean"].values()]
        assert gap == pytest.approx(sum(each) / len(each), abs=1e-12)
    ranks = [stats.rankdata([-x for x in one.values()]) for one in results["mean"].values()]
    assert list(results["average_rank"].values()) == pytest.approx(np.mean(ranks, axis=0))
