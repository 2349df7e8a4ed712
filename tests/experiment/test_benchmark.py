"""A benchmark of one setting: its options, its report, and what a resumed run keeps."""

import json

import pytest

from tests.experiment.test_few_labels import FEW
from xdistill.experiment import Options, Setting, run_benchmark

SMALL = {"seeds": 1, "student": "mlp", "teacher": "mlp"}


def run(folder, **options):
    return run_benchmark("sleepers", FEW, Options(**{**SMALL, "out": folder, **options}))


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
        ({"methods": ("kd", "kd")}, "names a method twice: kd kd"),
        ({"monitor": "val/f1"}, "--monitor must be one of val/accuracy.*got val/f1"),
        ({"methods": ("kdd",)}, "unknown loss 'kdd'; did you mean 'dkd', 'kd'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_made(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", **option)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs of a setting must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size of a setting must be at least 2, got 1"),
        ({"teachers": {}}, "needs teachers of other modalities"),
        ({"teachers": {"camera": "mlp"}}, "needs teachers of other modalities.*camera"),
    ],
)
def test_a_setting_that_cannot_be_trained_is_refused(changes, message):
    options = {"load": FEW.load, "teachers": {"belt": "mlp"}, "student": "camera", **changes}
    with pytest.raises(ValueError, match=message):
        Setting(**options)
