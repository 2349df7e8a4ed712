"""A benchmark of one setting: its options, its report, and what a resumed run keeps."""

import json
from dataclasses import replace

import pytest

from tests.experiment.test_few_labels import FEW
from xdistill.experiment import CASES, Options, Setting, run_benchmark
from xdistill.experiment.tables import benchmark_table

SMALL = {"seeds": 1, "student": "mlp", "teacher": "mlp"}


def run(folder, **options):
    given = Options(**{**SMALL, "out": folder, **options})
    own = {"teacher_share": given.teacher_share, "folds": given.teacher_folds}
    return run_benchmark("sleepers", replace(FEW, **own), given)


def test_a_resumed_run_adds_methods_and_seeds_and_loses_none(tmp_path, capsys):
    first = run(tmp_path / "run", methods=("kd",), seeds=2)
    more = run(tmp_path / "run", methods=("sp",), resume=True)
    assert {"teacher", "student", "kd", "sp"} <= set(more) and more["seeds"] == [0, 1]
    assert more["kd"] == first["kd"] and more["student"] == first["student"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["methods"] == ["kd", "sp"]
    assert "sp" in capsys.readouterr().out


def test_the_baselines_with_few_labels_stand_in_the_table(tmp_path, capsys):
    found = run(
        tmp_path / "run",
        methods=("labelled", "pseudo_label"),
        labelled_groups=2,
        label_fraction=0.5,
    )
    assert {"labelled", "pseudo_label"} <= set(found)
    assert "labelled" in capsys.readouterr().out
    assert (tmp_path / "run" / "student.safetensors").exists()


FEW_LABELS = {"labelled_groups": 2, "label_fraction": 0.5, "seeds": 2}


def test_the_bound_and_the_difference_to_the_best_baseline_stand_in_the_report(tmp_path, capsys):
    methods = ("labelled", "pseudo_label", "kd")
    found = run(tmp_path / "run", methods=methods, bound=True, **FEW_LABELS)
    f1 = {name: [one["macro_f1"] for one in found[name]["runs"]] for name in (*methods, "bound")}
    best = max(("labelled", "pseudo_label"), key=lambda name: sum(f1[name]))
    assert found["baseline"] == best
    for name in ("kd", "bound"):
        gaps = [a - b for a, b in zip(f1[name], f1[best], strict=True)]
        mean = found[name]["difference_to_baseline"]["macro_f1"]["mean"]
        assert mean == pytest.approx(sum(gaps) / 2)
    assert "difference_to_baseline" not in found[best]
    assert "difference_to_student" in found["bound"]
    assert "all labels" in capsys.readouterr().out
    lines = benchmark_table(found).splitlines()
    assert lines[0].endswith(f"| accuracy minus {best} |")
    assert [line.split(" | ")[0] for line in lines[2:5]] == [
        "| teacher",
        "| student",
        "| all labels",
    ]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    # The student that is kept is one that did not see the hidden labels.
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["kept"]
    assert kept["method"] in ("student", *methods)
    again = run(tmp_path / "run", methods=("sp",), resume=True, **FEW_LABELS)
    assert again["bound"] == found["bound"]


def test_the_bound_is_the_student_with_all_labels(tmp_path):
    found = run(tmp_path / "few", methods=("kd",), bound=True, **FEW_LABELS)
    whole = run(tmp_path / "all", methods=("kd",), bound=True, seeds=2)
    assert [one["accuracy"] for one in found["bound"]["runs"]] == [
        one["accuracy"] for one in whole["student"]["runs"]
    ]
    assert "bound" not in whole and "baseline" not in whole  # no label is hidden, none was run
    assert benchmark_table(whole).splitlines()[0].endswith("| accuracy minus student alone |")


def test_the_teacher_and_the_students_are_of_the_case(tmp_path):
    found, history = {}, {}
    for case in CASES:
        options = {"case": case, "teacher_share": 0.5, "teacher_folds": 3, "methods": ("kd",)}
        found[case] = run(tmp_path / case, **options, **FEW_LABELS)
        suffix = "" if case == "in_sample" else f"~{case}"
        for name, files in (("kd", "kd/*/result.json"), ("belt", f"teacher-belt{suffix}/*.json")):
            (path,) = (tmp_path / case / "seed0").glob(files)
            history[name, case] = json.loads(path.read_text())["history"]
    assert len({str(history["kd", case]) for case in CASES}) == 3
    student = [found[case]["student"]["runs"] for case in CASES]
    assert student[0] == student[1] == student[2]
    transfer, crossed, in_sample = (history["belt", case] for case in CASES)
    assert crossed == in_sample != transfer
    assert found["transfer"]["rows"]["train"] < len(FEW.load(tmp_path, 0).train)


def test_a_run_of_an_older_layout_is_refused_and_kept(tmp_path):
    run(tmp_path / "run", methods=("kd",))
    (tmp_path / "run" / "setting.json").unlink()
    before = (tmp_path / "run" / "results.json").read_bytes()
    with pytest.raises(ValueError, match="written by an older version.*choose another --out"):
        run(tmp_path / "run", methods=("kd",), resume=True)
    assert (tmp_path / "run" / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"max_epochs": 0}, "--max-epochs must be at least 1"),
        ({"teacher_epochs": -1}, "--teacher-epochs must be at least 1, got -1"),
        ({"batch_size": 1}, "--batch-size must be at least 2, got 1"),
        ({"label_fraction": 0.0}, "--label-fraction must be above 0 and at most 1, got 0"),
        ({"label_fraction": 3.0}, "--label-fraction must be above 0 and at most 1, got 3"),
        ({"lr": -1.0}, "--lr must be above 0"),
        ({"lr": float("nan")}, "--lr must be above 0"),
        ({"teacher_folds": 2}, "--teacher-folds must be at least 3.*got 2"),
        ({"teacher_share": 1.0}, "--teacher-share from 0 to below 1, got 4 and 1"),
        ({"balanced": True}, "--balanced .* needs --labelled-per-batch"),
        ({"methods": ("kd", "kd")}, "names a method twice: kd kd"),
        ({"monitor": "val/f1"}, "--monitor must be one of val/accuracy.*got val/f1"),
        ({"methods": ("kdd",)}, "unknown loss 'kdd'; did you mean 'dkd', 'kd'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_made(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", **option)
    assert not (tmp_path / "run").exists()


def test_a_transfer_teacher_without_rows_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="--teacher-share 0.5"):
        run(tmp_path / "run", case="transfer")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs of a setting must be at least 1, got 0"),
        ({"folds": 2}, "folds of a setting must be at least 3, got 2"),
        ({"teacher_share": 1.0}, "teacher_share of a setting .* got 1.0 and 0.02"),
        ({"few_labels": 0.0}, "few_labels above 0 .* got 0.0 and 0.0"),
        ({"batch_size": 1}, "batch_size of a setting must be at least 2, got 1"),
        ({"teachers": {}}, "needs teachers of other modalities"),
        ({"teachers": {"camera": "mlp"}}, "needs teachers of other modalities.*camera"),
    ],
)
def test_a_setting_that_cannot_be_trained_is_refused(changes, message):
    options = {"load": FEW.load, "teachers": {"belt": "mlp"}, "student": "camera", **changes}
    with pytest.raises(ValueError, match=message):
        Setting(**options)
