"""The suite: what it runs, chooses and reports, and what happens when runs fail or are killed."""

import csv
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.experiment.scores import result
from xdistill.experiment import Experiment, Failure, SuiteOptions, Trial, run_suite

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("suite")
    done = start(
        *"--datasets tiny --methods kd rkd --seeds 2 --label-fractions 0.1 --missing 0.5".split(),
        *["--out", out],
    )
    assert done.returncode == 0, done.stderr
    assert "tiny-a: test set" in done.stdout and "rkd" in done.stdout
    return out


@pytest.mark.slow
def test_what_the_json_says_follows_from_the_runs(finished):
    results = json.loads((finished / "suite.json").read_text())
    assert results["versions"]["torch"] and results["hours"] > 0 and not results["failures"]
    with (finished / "suite_runs.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert results["runs"] == len(lines)
    for name in ("tiny-a", "tiny-b"):
        methods = results["settings"][name]["methods"]
        assert set(methods) == {"student", "kd", "rkd"}
        alone = np.array(methods["student"]["test"]["macro_f1"])
        for method, one in methods.items():
            for seed in range(2):
                run = [
                    line
                    for line in lines
                    if (line["setting"], line["method"], line["seed"]) == (name, method, str(seed))
                    and float(line["lr_factor"]) == pytest.approx(one["lr_factor"][seed], rel=1e-3)
                    and float(line["strength"]) == pytest.approx(one["strength"][seed], rel=1e-3)
                    and (line["labels"], line["missing"]) == ("1", "0")
                ]
                assert len(run) == 1
                found = one["test"]["macro_f1"][seed]
                assert found == pytest.approx(float(run[0]["test_macro_f1"]), abs=1e-5)
            values = np.array(one["test"]["macro_f1"])
            assert one["macro_f1"] == pytest.approx(values.mean())
            if method != "student":
                gap = one["difference"]["macro_f1"]
                assert gap["mean"] == pytest.approx((values - alone).mean())
                if np.ptp(values - alone) > 0:
                    expected = stats.ttest_rel(values, alone).pvalue
                    assert gap["p_value"] == pytest.approx(expected)


@pytest.mark.slow
def test_the_trial_is_chosen_on_validation_of_its_own_split(finished):
    results = json.loads((finished / "suite.json").read_text())
    for name in ("tiny-a", "tiny-b"):
        for method in ("student", "kd", "rkd"):
            one = results["settings"][name]["methods"][method]
            for seed in range(2):
                searched = seed if name == "tiny-a" else 0
                files = (finished / name / f"seed{searched}" / method).glob("*/result.json")
                runs = [json.loads(path.read_text()) for path in files]
                runs = [{**run, **run["trial"]} for run in runs]
                runs = [run for run in runs if (run["labels"], run["missing"]) == (1, 0)]
                if method != "student":
                    runs = [run for run in runs if run["lr_factor"] == one["lr_factor"][seed]]
                top = max(run["val"]["macro_f1"] for run in runs)
                chosen = [
                    run["val"]["macro_f1"]
                    for run in runs
                    if run["strength"] == one["strength"][seed]
                    and run["lr_factor"] == one["lr_factor"][seed]
                ]
                assert chosen == [top]
                assert len(runs) >= 3


@pytest.mark.slow
def test_every_student_of_a_seed_starts_and_is_taught_alike(finished):
    """A strength of nearly nothing is the student alone."""
    experiment = Experiment("mfh_gaussian", finished / "mfh_gaussian")
    alone = experiment.student("student")
    idle = experiment.student("fitnet", strength=1e-12)
    taught = experiment.student("fitnet")
    assert (idle.val, idle.test) == (alone.val, alone.test)
    assert taught.test != alone.test


@pytest.mark.slow
def test_a_finished_suite_is_read_not_run(finished):
    before = numbers(finished)
    again = start(
        *"--datasets tiny --methods kd rkd --seeds 2 --label-fractions 0.1 --missing 0.5".split(),
        *["--out", finished],
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(", 0 to do") == 5
    assert numbers(finished) == before


@pytest.mark.slow
def test_other_settings_do_not_mix(finished):
    path = finished / "tiny-a" / "setting.json"
    content = path.read_text()
    path.write_text(content.replace('"epochs": 2', '"epochs": 7'))
    refused = start("--datasets", "tiny-a", "--methods", "kd", "--out", finished)
    path.write_text(content)
    assert refused.returncode == 1
    assert (
        "made with other options: {'epochs': '7 → 2'}" in refused.stderr
        and "Traceback" not in refused.stderr
    )


@pytest.mark.slow
def test_failures_are_recorded_and_the_rest_goes_on(tmp_path):
    options = "--datasets tiny-a absent --methods kd raises nan dies --seeds 1 --out".split()
    done = start(*options, tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    results = json.loads((tmp_path / "suite.json").read_text())
    assert set(results["settings"]["tiny-a"]["methods"]) == {"student", "kd"}
    assert not results["settings"]["absent"]["methods"]
    errors = {(one["setting"], one["method"]): one["error"] for one in results["failures"]}
    assert "no such thing" in errors["tiny-a", "raises"]
    assert "FloatingPointError" in errors["tiny-a", "nan"]
    assert errors["tiny-a", "dies"] == "its process died twice"
    assert "absent.csv is missing" in errors["absent", "student"]
    assert f"{len(results['failures'])} runs failed" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [14, 20])
def test_a_killed_suite_goes_on_with_the_same_numbers(finished, tmp_path, after_s):
    options = "--datasets tiny --methods kd rkd --seeds 2 --label-fractions 0.1 --missing 0.5"
    options = [*options.split(), "--out", tmp_path / "killed"]
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
    row = next(line for line in done.stdout.splitlines() if line.startswith("  centred_cosine"))
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
