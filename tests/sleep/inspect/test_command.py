"""`xdistill inspect`: what a run holds."""

from __future__ import annotations

import pytest
from sleep_runs import make_run

import xdistill as xd
from xdistill.cli import main
from xdistill.export import save_student
from xdistill.sleep.inspect.contents import run_contents
from xdistill.storage.json_file import write_json


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def test_a_run_is_shown_and_all_its_students_load(run, capsys):
    write_json(run / "results.json", {"splits": {"train": 20, "test": 3}})
    (run / "curves.png").write_bytes(b"a picture")
    assert main(["inspect", str(run)]) == 0
    text = capsys.readouterr().out
    for words in (
        "encoder  body_small", "classes  W, N1, N2, N3, REM", "teacher  eeg",
        "splits  train=20, test=3", "preprocessing  frames=6, size=16", "training nights  14",
        "preferred by validation  head, seed 0", "held-out sleepers of head, seed 0",
        "compared with the stages of scored",
    ):  # fmt: skip
        assert words in text, text
    lines = {tuple(line.split()[:2]): line.split() for line in text.splitlines()}
    assert lines["causal", "0"][2:] == ["yes", "head,", "causal", "3", "0.700", "0.600", "0.550"]
    assert lines["hmm", "0"][3] == "hmm"
    assert lines["sleeper0", "100"] == ["sleeper0", "100", "0.700", "0.600", "nan"]
    assert "student.safetensors" in text and "none/weights.safetensors" in text
    assert "curves.png" in text and "no checksum" in text and "DAMAGED" not in text


@pytest.mark.parametrize(
    "name", ["hmm/weights.safetensors", "head/context.safetensors", "student.safetensors"]
)
def test_a_flipped_bit_is_found(run, capsys, name):
    content = bytearray((run / name).read_bytes())
    content[-3] ^= 1
    (run / name).write_bytes(content)
    assert main(["inspect", str(run)]) == 1
    text = capsys.readouterr().out
    assert f"{name}: " in text and "DAMAGED" in text
    problems = {one.method for one in run_contents(run).students if one.problem is not None}
    assert problems == ({name.split("/")[0]} if "/" in name else set())


def test_a_missing_file_is_found(run, capsys):
    (run / "causal" / "context.safetensors").unlink()
    assert main(["inspect", str(run)]) == 1
    text = capsys.readouterr().out
    assert "causal/context.safetensors: it is missing" in text


def test_an_edited_file_is_refused(run, capsys):
    path = run / "config.json"
    path.write_text(path.read_text().replace("body_small", "body_tiny"))
    assert main(["inspect", str(run)]) == 1
    assert "does not match its checksum" in capsys.readouterr().err


def test_one_student_is_chosen(run, capsys):
    assert main(["inspect", str(run), "--student", "hmm"]) == 0
    assert "held-out sleepers of hmm, seed 0" in capsys.readouterr().out
    assert main(["inspect", str(run), "--student", "hmm", "--seed", "4"]) == 1
    assert "no student of method 'hmm' and seed 4; it has" in capsys.readouterr().err


def test_other_folders(tmp_path, capsys):
    options = {"in_features": 6, "num_classes": 3}
    encoder = xd.create_encoder("mlp", **options)
    save_student(tmp_path / "mlp", encoder, name="mlp", options=options, classes="abc")
    assert main(["inspect", str(tmp_path / "mlp")]) == 0
    assert "encoder  mlp  in_features=6, num_classes=3" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path)]) == 1
    assert "is no run; name the folder" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "missing")]) == 1
    assert "there is no run" in capsys.readouterr().err


def test_the_folds_of_a_cross_validation(run, tmp_path, capsys):
    folder = tmp_path / "folds"
    folder.mkdir()
    run.rename(folder / "fold0")
    write_json(folder / "folds.json", {"folds": ["fold0"]})
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "folds of a cross-validation: fold0; inspect each" in text
    assert "fold0/student.safetensors" not in text
    assert main(["inspect", str(folder / "fold0")]) == 0
