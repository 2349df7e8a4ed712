"""The suite: what it runs, chooses and reports, and what happens when runs fail or are killed."""

import csv
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.experiment.scores import result
from xdistill.experiment import Experiment, Failure, SuiteOptions, Trial, run_suite
from xdistill.report import read_json, write_json

ROOT = Path(__file__).parents[2]
SCRIPT = "tests/benchmarks/suite_script.py"


def command(*options: object, script: str = SCRIPT) -> list[str]:
    return [sys.executable, script, *map(str, options)]


def start(
    *options: object, script: str = "tests/benchmarks/suite_script.py"
) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(*options, script=script), cwd=ROOT, capture_output=True, text=True, env=environment
    )


def numbers(folder: Path) -> list[list[str]]:
    """All runs without their times, in order."""
    with (folder / "suite_runs.csv").open() as file:
        lines = list(csv.DictReader(file))
    return sorted([value for key, value in one.items() if key != "seconds"] for one in lines)


OPTIONS = (
    "--datasets tiny --baselines labelled pseudo_label --methods kd dist --seeds 2 "
    "--cases transfer cross_fitted --label-fractions 0.1 1 --label-groups 1 2 99 --missing 0.5 "
    "--twice"
).split()
METHODS = {"student", "labelled", "pseudo_label", "kd", "dist"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("suite")
    done = start(*OPTIONS, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "tiny-a: test set" in done.stdout and "| dist |" in done.stdout
    return out


def runs_of(finished: Path) -> list[dict[str, str]]:
    with (finished / "suite_runs.csv").open() as file:
        return list(csv.DictReader(file))


def values_of(lines: list[dict[str, str]], **wanted: str) -> np.ndarray:
    """Macro-F1 on test of the two runs that differ in their seed alone."""
    usual = {"epochs": "1", "missing": "0", "groups": "", "labels": "0.2"}
    wanted = {**usual, **wanted}
    found = [line for line in lines if all(line[key] == value for key, value in wanted.items())]
    assert sorted(line["seed"] for line in found) == ["0", "1"], wanted
    return np.array([float(x["test_macro_f1"]) for x in sorted(found, key=lambda x: x["seed"])])


@pytest.mark.slow
def test_what_the_json_says_follows_from_the_runs(finished):
    results = json.loads((finished / "suite.json").read_text())
    assert results["versions"]["torch"] and results["hours"] > 0 and not results["failures"]
    assert results["cases"] == ["transfer", "cross_fitted"]
    lines = runs_of(finished)
    assert results["runs"] == len(lines)
    for name, case in product(("tiny-a", "tiny-b"), results["cases"]):
        setting = results["settings"][name]
        assert set(setting["methods"][case]) == METHODS
        found = {}
        for method, one in setting["methods"][case].items():
            own = case if method not in ("student", "labelled") else "in_sample"
            for seed in range(2):
                numbers = {"setting": name, "method": method, "case": own, "seed": str(seed)}
                numbers |= {"labels": "0.2", "groups": "", "missing": "0", "epochs": "1"}
                numbers |= {key: f"{one[key][seed]:.4g}" for key in ("lr_factor", "strength")}
                (run,) = [x for x in lines if all(x[k] == v for k, v in numbers.items())]
                expected = float(run["test_macro_f1"])
                assert one["test"]["macro_f1"][seed] == pytest.approx(expected, abs=1e-5)
            found[method] = np.array(one["test"]["macro_f1"])
            assert one["macro_f1"] == pytest.approx(found[method].mean())
        best = max(("labelled", "pseudo_label"), key=lambda method: found[method].mean())
        assert setting["baseline"][case] == best
        for method, one in setting["methods"][case].items():
            for key, other in (("difference", "student"), ("difference_to_baseline", best)):
                assert (key in one) is (method != other)
                if method != other:
                    gap = (found[method] - found[other]).mean()
                    assert one[key]["macro_f1"]["mean"] == pytest.approx(gap)
        bound = values_of(lines, setting=name, method="student", labels="1")
        assert setting["bound"]["macro_f1"] == pytest.approx(bound.mean(), abs=1e-5)
        room = (bound - found["dist"]).mean()
        assert setting["room"][case]["mean"] == pytest.approx(room, abs=2e-5)


@pytest.mark.slow
def test_curves_and_twice_the_epochs_follow_from_the_runs(finished):
    results, lines = json.loads((finished / "suite.json").read_text()), runs_of(finished)
    for name, case in product(("tiny-a", "tiny-b"), results["cases"]):
        curves = results["curves"][name][case]
        assert set(curves) == {
            "rows",
            *(["subjects"] if name == "tiny-b" else []),  # rows of tiny-a are their own subjects
            *(["missing"] if case == "transfer" else []),
        }
        assert list(curves["rows"]["dist"]) == ["0.1", "0.2", "1"]
        one = {"setting": name, "method": "dist", "case": case}
        value = values_of(lines, **one, labels="0.1").mean()
        assert curves["rows"]["dist"]["0.1"]["mean"] == pytest.approx(value, abs=1e-5)
        if name == "tiny-b":
            assert list(curves["subjects"]["labelled"]) == ["1", "2"]
            value = values_of(lines, **one, labels="1", groups="2").mean()
            assert curves["subjects"]["dist"]["2"]["mean"] == pytest.approx(value, abs=1e-5)
    twice = results["settings"]["tiny-a"]["twice"]
    assert set(twice) == {"bound", "labelled", "dist"}
    numbers = {"setting": "tiny-a", "method": "student", "labels": "1"}
    gap = values_of(lines, **numbers, epochs="2") - values_of(lines, **numbers)
    assert twice["bound"]["mean"] == pytest.approx(gap.mean(), abs=2e-5)


@pytest.mark.slow
def test_the_trial_is_chosen_on_validation_of_its_own_split_in_the_first_case(finished):
    results = json.loads((finished / "suite.json").read_text())
    for name, method in product(("tiny-a", "tiny-b"), ("student", "labelled", "kd", "dist")):
        entries = [results["settings"][name]["methods"][case][method] for case in results["cases"]]
        one, other = entries
        assert (one["lr_factor"], one["strength"]) == (other["lr_factor"], other["strength"])
        for seed in range(2):
            searched = seed if name == "tiny-a" else 0
            files = (finished / name / f"seed{searched}" / method).glob("*/result.json")
            runs = [json.loads(path.read_text()) for path in files]
            runs = [{**run, **run["trial"]} for run in runs]
            case = "transfer" if method in ("kd", "dist") else "in_sample"
            usual = {"labels": 0.2, "missing": 0, "groups": None, "epochs": 1, "case": case}
            runs = [run for run in runs if all(run[key] == usual[key] for key in usual)]
            assert len(runs) == 3
            top = max(run["val"]["macro_f1"] for run in runs)
            chosen = [
                run["val"]["macro_f1"]
                for run in runs
                if run["strength"] == one["strength"][seed]
                and run["lr_factor"] == one["lr_factor"][seed]
            ]
            assert chosen == [top]


@pytest.mark.slow
def test_every_student_of_a_seed_starts_and_is_taught_alike(finished):
    """A strength of nearly nothing is the student alone."""
    experiment = Experiment("mfh_gaussian", finished / "mfh_gaussian")
    alone = experiment.student("student")
    idle = experiment.student("fitnet", strength=1e-12)
    taught = experiment.student("fitnet")
    for ours, theirs in ((idle.val, alone.val), (idle.test, alone.test)):
        assert ours.confusion == theirs.confusion and ours.f1_per_class == theirs.f1_per_class
        assert ours.ece == pytest.approx(theirs.ece, abs=1e-6)  # of probabilities, which round
    assert taught.test != alone.test


@pytest.mark.slow
def test_a_finished_suite_is_read_not_run(finished):
    before = numbers(finished)
    again = start(*OPTIONS, "--out", finished)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(", 0 to do") == 8
    assert numbers(finished) == before


@pytest.mark.slow
def test_without_a_search_there_is_one_run_of_a_method(finished):
    """Into a copy of the folder, so that the teachers are there."""
    out = finished.parent / "no_search"
    shutil.copytree(finished, out)
    options = "--datasets tiny-b --cases transfer --baselines labelled --methods sp --seeds 2"
    done = start(*options.split(), "--no-search", "--out", out)
    assert done.returncode == 0, done.stderr
    methods = json.loads((out / "suite.json").read_text())["settings"]["tiny-b"]["methods"]
    entries = methods["transfer"]
    assert entries["sp"]["strength"] == [1.0, 1.0]
    assert {tuple(one["lr_factor"]) for one in entries.values()} == {
        tuple(entries["student"]["lr_factor"])
    }
    assert len(list((out / "tiny-b").glob("seed*/sp/*"))) == 2


@pytest.mark.slow
def test_other_settings_do_not_mix(finished):
    path = finished / "tiny-a" / "setting.json"
    content, other = path.read_text(), read_json(path)
    other["epochs"] = 7
    write_json(path, other)
    refused = start("--datasets", "tiny-a", "--methods", "kd", "--out", finished)
    path.write_text(content)
    assert refused.returncode == 1
    assert (
        "made with other options: {'epochs': '7 → 2'}" in refused.stderr
        and "Traceback" not in refused.stderr
    )


@pytest.mark.slow
def test_failures_are_recorded_and_the_rest_goes_on(tmp_path):
    options = "--datasets tiny-a absent --methods kd raises nan dies --seeds 1 --baselines labelled"
    done = start(*options.split(), "--cases", "transfer", "--label-groups", 1, "--out", tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    results = json.loads((tmp_path / "suite.json").read_text())
    assert set(results["settings"]["tiny-a"]["methods"]["transfer"]) == {
        "student",
        "labelled",
        "kd",
    }
    assert results["settings"]["absent"]["methods"] == {"transfer": {}}
    errors = {(one["setting"], one["method"]): one["error"] for one in results["failures"]}
    assert "no such thing" in errors["tiny-a", "raises"]
    assert "FloatingPointError" in errors["tiny-a", "nan"]
    assert errors["tiny-a", "dies"] == "its process died twice"
    assert "absent.csv is missing" in errors["absent", "student"]
    assert f"{len(results['failures'])} runs failed" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [14, 20])
def test_a_killed_suite_goes_on_with_the_same_numbers(finished, tmp_path, after_s):
    options = [*OPTIONS, "--out", tmp_path / "killed"]
    process = subprocess.Popen(
        command(*options),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = start(*options)
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(tmp_path / "killed") == numbers(finished)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": ("nothing",)}, "unknown setting 'nothing'; known: .*'mfh_gaussian', 's3ve'"),
        ({"datasets": ("utd_mhda-both",)}, "did you mean 'utd_mhad-both'"),
        ({"methods": ("nothing",)}, "unknown loss 'nothing'"),
        ({"methods": ("sacd/nothing",)}, "unknown variant 'sacd/nothing'; known variants: sacd/"),
        ({"methods": ("at",)}, "Setting.layers"),
        ({"seeds": 0}, "--seeds and --processes must be at least 1, got 0"),
        ({"missing": (1.5,)}, "--missing must lie between 0 and 1"),
        ({"labels": 0.0}, r"--labels and --label-fractions must be above 0.*got \(0.0,\)"),
        ({"label_fractions": (0.1, 2.0)}, "--labels and --label-fractions must be above 0"),
        ({"label_groups": (0,)}, "--label-groups must be at least 1 each"),
        ({"teacher_share": 0.0}, "a transfer teacher .*--teacher-share"),
        ({"teacher_share": 1.0}, "teacher_share of a setting must be from 0 to below 1"),
        ({"cases": ()}, "--cases names none of the cases transfer"),
        ({"cases": ("elsewhere",)}, "unknown case 'elsewhere'"),
        (
            {"cases": ("in_sample",), "missing": (0.5,)},
            "--curve-cases names none of the cases in_sample",
        ),
        ({"baselines": ("calibrated",)}, "names no loss"),
        ({"datasets": ("s3ve",), "curve_datasets": ("uci_mfeat",)}, "among --datasets"),
    ],
)
def test_mistakes_are_found_before_any_run(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_suite(SuiteOptions(**options, out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_mistakes_are_one_sentence(tmp_path):
    done = start("--datasets", "nothing", "--out", tmp_path, script="benchmarks/suite.py")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: unknown setting 'nothing'")


@pytest.mark.slow
def test_a_strangers_method_gets_its_row(tmp_path):
    options = ["--seeds", 1, "--methods", "centred_cosine", "--out", tmp_path]
    done = start(*options, script="examples/bring_your_own_method.py")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("| centred_cosine |"))
    assert len(row.split()) >= 3


def test_the_ablation_ranks_conditions_in_which_nothing_failed():
    values = {
        "student": (0.5, 0.3, 0.9),
        "sacd": (0.6, 0.5, 0.9),
        "dist+sacd": (0.7, 0.4, None),  # it fails in the last condition
    }
    conditions = [("a", 1.0), ("a", 0.1), ("b", 1.0)]
    done = {
        Trial(setting, method, seed, labels=labels): Failure("x", None)
        if each[at] is None
        else result(val=each[at] + 0.1 * seed)
        for method, each in values.items()
        for at, (setting, labels) in enumerate(conditions)
        for seed in (0, 1)
    }
    compare = runpy.run_path(str(ROOT / "benchmarks" / "sacd_ablation.py"))["compare"]
    found = compare(list(done), done, tuple(values))
    assert found["conditions"] == 2 and len(found["runs"]) == 3
    assert found["mean"]["a, labels 0.1"]["sacd"] == pytest.approx(0.55)
    assert found["difference_to_sacd"] == pytest.approx(
        {"student": -0.15, "sacd": 0, "dist+sacd": 0}
    )
    assert found["average_rank"] == {"student": 3, "sacd": 1.5, "dist+sacd": 1.5}
    assert (found["better_in"]["dist+sacd"], found["worse_in"]["dist+sacd"]) == (1, 1)
    with pytest.raises(ValueError, match="failed in every condition"):
        compare(list(done)[:6], done, ("sacd", "dist+sacd"))
