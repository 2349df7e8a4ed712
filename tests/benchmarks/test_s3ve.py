import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import xdistill as xd
from xdistill.data.simulation import SampleConfig, generate

ROOT = Path(__file__).parents[2]
QUICK = (
    "--layout clips --frames 8 --size 16 --max-epochs 2 --teacher-epochs 2 --accelerator cpu "
    "--batch-size 16 --labelled-groups 1 --labelled-per-batch 4"
).split()
METHODS = ("labelled", "pseudo_label", "kd", "sacd")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("s3ve") / "sample"
    return generate(root, SampleConfig(subjects=5, teacher_subjects=2, clips_per_night=24))


def options_of(clips: Path) -> list[object]:
    """Two epochs of everything, with the teacher of the sleepers elsewhere."""
    return ["--data", clips, "--teacher-data", clips / "elsewhere", *QUICK]


def command(script: str, *options: object) -> list[str]:
    return [sys.executable, f"benchmarks/{script}.py", *map(str, options)]


def start(script: str, *options: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(script, *options), cwd=ROOT, capture_output=True, text=True, env=environment
    )


def numbers(folder: Path) -> dict:
    results = json.loads((folder / "results.json").read_text())
    runs = {name: results[name]["runs"] for name in ("teacher", "student", *METHODS, "bound")}
    return {"runs": runs, "epochs": {name: results[name]["best_epoch"] for name in runs}}


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = start("s3ve", *options_of(clips), "--out", out)
    assert done.returncode == 0, done.stderr
    assert "macro-F1" in done.stdout and "all labels" in done.stdout
    assert "the best baseline: " in done.stdout.splitlines()[-1]
    return out


@pytest.mark.slow
def test_the_run_folder_holds_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()}
    pictures = {"confusion.png", "learning_curves.png", "hypnogram.png"}
    assert names >= {"results.json", "config.json", "student.safetensors"} | pictures
    results = json.loads((finished / "results.json").read_text())
    assert results["seed"] == 0 and results["versions"]["torch"] and results["device"]
    for name in ("teacher", "student", *METHODS, "bound"):
        assert {"accuracy", "macro_f1", "kappa"} <= set(results[name])
        assert len(results[name]["f1_per_class"]) == 5


@pytest.mark.slow
def test_the_student_of_the_run_folder_stages_a_clip(finished, clips):
    from xdistill.export import load_student
    from xdistill.metrics import predict

    student = load_student(finished)
    test = xd.create_dataset("s3ve", root=clips, layout="clips", frames=8, size=16).test
    again = predict(student.encoder, xd.paired_loader(test, 16), 5).scores
    kept = json.loads((finished / "config.json").read_text())["kept"]
    results = json.loads((finished / "results.json").read_text())
    assert again.accuracy == results[kept["method"]]["runs"][kept["seed"]]["accuracy"]


@pytest.mark.slow
def test_a_finished_run_is_neither_overwritten_nor_repeated(finished, clips):
    before = (finished / "results.json").read_bytes()
    refused = start("s3ve", *options_of(clips), "--out", finished)
    assert refused.returncode != 0 and "is not empty" in refused.stderr
    other = start("s3ve", *options_of(clips), "--lr", 1, "--out", finished, "--resume")
    assert other.returncode != 0 and "with other options" in other.stderr
    assert (finished / "results.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [9, 13, 17])
def test_a_killed_run_ends_with_the_same_numbers(finished, clips, tmp_path, after_s):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command("s3ve", *options_of(clips), "--out", out),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resume = ["--resume"] if out.exists() else []
    resumed = start("s3ve", *options_of(clips), "--out", out, *resume)
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(out) == numbers(finished)


@pytest.mark.slow
def test_two_processes_train_together(clips, tmp_path):
    out = tmp_path / "two"
    done = start("s3ve", *options_of(clips), "--devices", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "results.json").read_text())["sacd"]["accuracy"] > 0


@pytest.mark.slow
def test_the_teacher_is_trained_on_other_sleepers(finished, clips, tmp_path):
    """On those elsewhere, or else on some of the training subjects, who then are no pairs."""
    done = start("s3ve", "--data", clips, *QUICK, "--methods", "kd", "--out", tmp_path / "aside")
    assert done.returncode == 0, done.stderr
    assert "teacher: 24 rows" in done.stdout and "kd: 48 rows" in done.stdout
    results = json.loads((finished / "results.json").read_text())
    assert results["rows"]["train"] == 72 and results["config"]["teacher_data"]
    aside = json.loads((tmp_path / "aside" / "results.json").read_text())
    assert aside["teacher"]["accuracy"] != results["teacher"]["accuracy"]


@pytest.mark.slow
def test_fewer_labels_more_seeds_and_other_encoders(clips, tmp_path):
    out = tmp_path / "other"
    options = "--seeds 2 --label-fraction 0.5 --methods fitnet kd+sp --precision bf16-mixed"
    done = start("s3ve", *options_of(clips), *options.split(), "--out", out)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert len(results["kd+sp"]["runs"]) == 2
    assert results["fitnet"]["confidence_95"]["accuracy"] >= 0


@pytest.mark.slow
def test_methods_on_hidden_layers(clips, tmp_path):
    """Layers that an encoder returns by itself, and a module inside one."""
    out = tmp_path / "hidden"
    options = "--methods at+ofa ickd --layers layer4:layer3 layer2:blocks.0 --student video_small"
    done = start("s3ve", *options_of(clips), *options.split(), "--out", out)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["config"]["layers"] == ["layer4:layer3", "layer2:blocks.0"]
    assert results["at+ofa"]["accuracy"] > 0 < results["ickd"]["accuracy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "kdd"], "did you mean"),
        (["--methods", "at"], "--layers student:teacher"),
        (["--methods", "at", "--layers", "layer4"], "got 'layer4'"),
        (["--methods", "at", "--layers", "layer9:layer3"], "returns ['layer1'"),
        (["--student", "video_smal"], "did you mean 'video_small'"),
        (["--devices", "one"], 'devices is a number, "auto"'),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence_before_any_training(clips, tmp_path, options, message):
    data = QUICK if "--data" in options else options_of(clips)
    done = start("s3ve", *data, *options, "--out", tmp_path / "run")
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_help_describes_every_option():
    done = start("s3ve", "--help")
    for option in (
        "data layout methods layers seeds student teacher max-epochs label-fraction devices "
        "precision out"
    ).split():
        assert f"--{option}" in done.stdout
    assert "--resume" in done.stdout
