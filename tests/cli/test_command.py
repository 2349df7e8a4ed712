"""The command `xdistill` beside its tables."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import xdistill as xd
from xdistill.cli import main
from xdistill.export import save_student

COMMAND = [sys.executable, "-m", "xdistill"]


def test_the_package_runs_and_says_its_version():
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"xdistill {xd.__version__}\n"


def test_a_reader_that_stops_early_is_no_error():
    with subprocess.Popen(
        [*COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_options_of_an_encoder_are_listed(capsys):
    assert main(["list", "encoders", "skeleton_small"]) == 0
    printed = capsys.readouterr().out
    assert "Temporal CNN for joint positions" in printed
    assert "  joints=25\n" in printed and "  dropout\n" in printed
    assert main(["list", "encoders", "timm/resnet18"]) == 0
    assert "  weights=None\n" in capsys.readouterr().out


def test_mistakes_are_one_line(capsys, tmp_path):
    assert main(["list", "encoders", "vidoe_small"]) == 1
    assert "error: unknown encoder 'vidoe_small'; did you mean" in capsys.readouterr().err
    assert main(
        ["export", str(tmp_path), "m.onnx", "--format", "torch-export", "--input-shape", "6"]
    )
    assert capsys.readouterr().err.startswith("error: ")


def test_a_run_is_exported(capsys, tmp_path):
    options = {"in_features": 6, "num_classes": 3}
    save_student(
        tmp_path, xd.create_encoder("mlp", **options), name="mlp", options=options, classes="abc"
    )
    path = tmp_path / "student.pt2"
    command = ["export", str(tmp_path), str(path), "--format", "torch-export"]
    assert main([*command, "--input-shape", "6"]) == 0
    assert capsys.readouterr().out == f"written: {path}\n"
    assert torch.export.load(path).module()(torch.randn(4, 6))["logits"].shape == (4, 3)


def test_wrong_options_of_an_encoder_name_the_right_ones():
    for name, option in (("eeg_small", "sfreq_hz"), ("audio_small", "n_mels"), ("mlp", "hidden")):
        with pytest.raises(TypeError, match=rf"encoder '{name}' was created.*{option}="):
            xd.create_encoder(name, n_classes=4)


def test_an_encoder_of_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="unknown modality 'eggs'; known: audio, body, depth"):
        xd.register_encoder("mine", modality="eggs")
