"""The suite: what it runs, chooses and reports, and what happens when runs fail or are killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import xdistill as xd

ROOT = Path(__file__).parents[2]
SCRIPT = "tests/benchmarks/suite_script.py"
sys.path.insert(0, str(ROOT / "benchmarks"))

from sacd_ablation import compare  # noqa: E402
from suite import SuiteOptions, best, main  # noqa: E402
from suite_methods import COMBINATIONS, PARTS, create_losses, create_term  # noqa: E402
from suite_report import Suite, ranks, summary  # noqa: E402
from suite_settings import SETTINGS, chosen_settings  # noqa: E402
from suite_trial import Place, TeacherTrial, Trial, hide_teachers, run_and_keep  # noqa: E402


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
                files = list((finished / name / f"seed{searched}" / method).glob("*labels1_*.json"))
                runs = [json.loads(path.read_text()) for path in files]
                runs = [run for run in runs if run["missing"] == 0]
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
    place = Place(Path("data"), finished)
    run_and_keep(TeacherTrial("mfh_gaussian", "teacher", 0), place)
    alone = run_and_keep(Trial("mfh_gaussian", "student", 0), place)
    idle = run_and_keep(Trial("mfh_gaussian", "fitnet", 0, strength=1e-12), place)
    taught = run_and_keep(Trial("mfh_gaussian", "fitnet", 0), place)
    assert idle["test"] == alone["test"] and idle["val"] == alone["val"]
    assert taught["test"] != alone["test"]


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
    assert "made under other settings" in refused.stderr and "Traceback" not in refused.stderr


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
        ({"datasets": ("nothing",)}, "unknown data set 'nothing'; choose from s3ve, utd_mhad"),
        ({"methods": ("nothing",)}, "nothing"),
        ({"seeds": 0}, "seeds and processes are at least 1"),
        ({"missing": (1.5,)}, "missing lie between 0 and 1"),
        ({"datasets": ("s3ve",), "curve_datasets": ("uci_mfeat",)}, "among --datasets"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, options, message):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        main(SuiteOptions(**options, out=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_strangers_method_gets_its_row(tmp_path):
    options = ["--seeds", 1, "--methods", "centred_cosine", "--out", tmp_path]
    done = start(*options, script="examples/bring_your_own_method.py")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("  centred_cosine"))
    assert len(row.split()) >= 3


def test_ranks_are_those_of_demsar():
    """Friedman's statistic and Nemenyi's critical difference, from their formulas."""
    rng = np.random.default_rng(0)
    score = rng.random((6, 4))
    methods = ("student", "a", "b", "c")
    settings = {
        f"set{row}": {"methods": {m: {"macro_f1": score[row, k]} for k, m in enumerate(methods)}}
        for row in range(6)
    }
    found = ranks(settings, methods)
    expected = [[1 + int((row > value).sum()) for value in row] for row in score]
    assert [found["each"][m] for m in methods] == np.array(expected).T.tolist()
    mean = np.mean(expected, axis=0)
    assert list(found["mean"].values()) == pytest.approx(mean)
    statistic = 12 * 6 / (4 * 5) * (np.sum(mean**2) - 4 * 25 / 4)
    assert found["friedman_p"] == pytest.approx(stats.chi2.sf(statistic, 3))
    assert found["critical_difference"] == pytest.approx(2.569 * (4 * 5 / (6 * 6)) ** 0.5, rel=1e-3)
    del settings["set0"]["methods"]["c"]
    assert "set0" not in ranks(settings, methods)["settings"]


def test_points_of_a_curve_are_paired_with_the_student_that_has_as_many_labels():
    name, scores = "mfh_gaussian", {"accuracy": 0.5, "kappa": 0.1}
    macro_f1 = {
        ("student", 1.0, 0.0): (0.8, 0.7),
        ("student", 0.1, 0.0): (0.5, 0.4),
        ("kd", 1.0, 0.0): (0.7, 0.9),
        ("kd", 0.1, 0.0): (0.6, 0.7),
        ("kd", 1.0, 0.9): (0.6, None),  # a run that failed
    }
    done: dict = {TeacherTrial(name, "teacher", 0): {"error": "x", "setting": name, "seed": 0}}
    done = {trial: {**one, "method": "teacher", "seconds": 1} for trial, one in done.items()}
    for (method, labels, missing), values in macro_f1.items():
        for seed, value in enumerate(values):
            trial = Trial(name, method, seed, labels=labels, missing=missing)
            run = {"error": "x"} if value is None else {"test": {**scores, "macro_f1": value}}
            done[trial] = {"setting": name, "method": method, "seed": seed, "seconds": 1, **run}
    curves = tuple(one for one in done if isinstance(one, Trial))
    settings = {name: SETTINGS[name]}
    suite = Suite(settings, ("student", "kd"), (0,), {}, curves, done)
    found = summary(suite)["curves"][name]
    assert list(found["labels"]) == ["student", "kd"] and list(found["missing"]) == [
        "student",
        "kd",
    ]
    few, all_labels = found["labels"]["kd"]["0.1"], found["labels"]["kd"]["1"]
    assert (
        few["mean"] == pytest.approx(0.65) and "difference" not in found["labels"]["student"]["1"]
    )
    assert few["difference"]["mean"] == pytest.approx((0.1 + 0.3) / 2)
    expected = stats.ttest_rel((0.6, 0.7), (0.5, 0.4)).pvalue
    assert few["difference"]["p_value"] == pytest.approx(expected)
    assert all_labels["difference"]["mean"] == pytest.approx((-0.1 + 0.2) / 2)
    assert found["missing"]["kd"]["0"] == all_labels
    assert found["missing"]["kd"]["0.9"]["mean"] == 0.6
    assert "difference" not in found["missing"]["kd"]["0.9"]


def test_of_equal_trials_the_first_is_best_and_failed_ones_are_none():
    trials = [Trial("a", "kd", 0, strength=s) for s in (1.0, 2.0, 3.0)]
    done = {t: {"val": {"macro_f1": v}} for t, v in zip(trials, (0.5, 0.5, 0.4), strict=True)}
    assert best(trials, done) == trials[0]
    assert best(trials, {trials[0]: {"error": "x"}, trials[2]: done[trials[2]]}) == trials[2]
    assert best(trials, {trials[0]: {"error": "x"}}) is None


@pytest.mark.parametrize("method", ["kd", "sacd", "dkd", "kd+sacd", *PARTS, *COMBINATIONS])
def test_losses_have_their_weights(method):
    losses = create_losses(method, ("one", "two"), 3.0, epochs=8)
    assert list(losses) == ["one", "two"]
    first, second = losses.values()
    assert len(list(first.leaves())) == 1 + len(list(second.leaves()))  # the task's loss
    assert [create_term(one).name for one in method.split("+")] == [
        one.partition("/")[0] for one in method.split("+")
    ]


def test_the_ablation_ranks_conditions_in_which_nothing_failed():
    values = {
        "student": (0.5, 0.3, 0.9),
        "sacd": (0.6, 0.5, 0.9),
        "dist+sacd": (0.7, 0.4, None),  # it fails in the last condition
    }
    conditions = [("a", 1.0), ("a", 0.1), ("b", 1.0)]
    done = {
        Trial(setting, method, seed, labels=labels): {"error": "x"}
        if each[at] is None
        else {"val": {"macro_f1": each[at] + 0.1 * seed}}
        for method, each in values.items()
        for at, (setting, labels) in enumerate(conditions)
        for seed in (0, 1)
    }
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


def test_hidden_teachers_are_nested_and_counted():
    data = xd.PairedDataset(
        {"a": torch.randn(200, 2), "b": torch.randn(200, 2)},
        [0, 1] * 100,
        classes=("x", "y"),
        valid={"a": torch.arange(200) % 4 > 0},
    )
    some = hide_teachers(data, ("a",), 0.3, seed=1).valid["a"]
    most = hide_teachers(data, ("a", "b"), 0.9, seed=1)
    assert bool((most.valid["a"] <= some).all()) and int(most.valid["b"].sum()) == 20
    assert bool((some <= data.valid["a"]).all())


def test_every_setting_has_a_data_set_and_encoders():
    assert set(chosen_settings(tuple(SETTINGS))) == set(SETTINGS)
    for name, setting in SETTINGS.items():
        assert name.partition("-")[0] in xd.list_datasets()
        assert {setting.encoder, *setting.teachers.values()} <= set(xd.list_encoders())
    assert list(chosen_settings(("utd_mhad",))) == [
        "utd_mhad-inertial",
        "utd_mhad-skeleton",
        "utd_mhad-both",
    ]
