"""A sleep stager as one file, and a night staged with it without the libraries of training."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sleep_runs import VIDEO, make_run

from xdistill import deploy
from xdistill.cli import main
from xdistill.sleep.context.head import ContextHead
from xdistill.sleep.films.epochs import film_epochs
from xdistill.sleep.model import load_night_model
from xdistill.sleep.stage.export import export_night_model
from xdistill.sleep.stage.night import stage_film
from xdistill.sleep.stage.students import load_stager

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library)

BLOCKED = ("lightning", "pytorch_lightning", "torchmetrics", "timm", "braindecode", "mne", "yasa")


def rows_and_valid(stager, epochs=40):
    rng = np.random.default_rng(2)
    channels = (len(VIDEO.body_channels), VIDEO.body_samples)
    clips = rng.integers(0, 256, (epochs, VIDEO.frames, VIDEO.size, VIDEO.size), dtype=np.uint8)
    bodies = (100 * rng.standard_normal((epochs, *channels))).astype(np.float32)
    valid = rng.random(epochs) < 0.8
    valid[-3:] = False  # a night may end without a picture
    return stager.embed(clips, bodies), valid, (clips, bodies)


@pytest.mark.parametrize("method", ["none", "hmm", "head", "causal"])
def test_an_exported_student_says_what_the_student_says(method, run, tmp_path):
    path = export_night_model(run, tmp_path / "s.onnx", student=method)
    theirs, ours = load_stager(path), load_stager(run, method)
    assert theirs.preprocessing == ours.preprocessing == VIDEO
    assert (theirs.causal, theirs.modalities) == (ours.causal, ours.modalities)
    rows, valid, inputs = rows_and_valid(ours)
    np.testing.assert_allclose(theirs.embed(*inputs), rows, atol=1e-4, rtol=1e-4)
    right, found = ours.stage(rows, valid), theirs.stage(rows, valid)
    np.testing.assert_allclose(found, right, atol=1e-4)
    assert np.isnan(found[~valid]).all() and np.isfinite(found[valid]).all()
    nothing = theirs.stage(rows, np.zeros(len(rows), bool))
    assert np.isnan(nothing).all()


@pytest.mark.parametrize("modality", ["video", "video_body"])
def test_students_of_pictures_are_exported_too(modality, tmp_path):
    run = make_run(tmp_path / "run", modality)
    path = export_night_model(run)
    assert path == run / "student.onnx"
    theirs, ours = load_stager(path), load_stager(run)
    rows, valid, inputs = rows_and_valid(ours, 9)
    np.testing.assert_allclose(theirs.embed(*inputs), rows, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(
        theirs.stage(rows, valid), ours.stage(rows, valid), atol=1e-4, equal_nan=True
    )


def test_the_facts_of_a_report_travel_with_it(run, tmp_path):
    theirs = load_stager(export_night_model(run, tmp_path / "s.onnx")).facts
    ours = load_stager(run).facts
    assert theirs.trained == ours.trained and theirs.trained["Taught by"] == "eeg"
    assert "accuracy 0.80" in theirs.trained["With N1 and N2 as one"]
    assert [one.name for one in theirs.held_out] == ["sleeper0", "sleeper1", "sleeper2"]
    assert np.isnan(theirs.held_out[0].kappa) and theirs.held_out[1].kappa == 0.55
    assert theirs.training is not None and theirs.training.nights == 14
    assert theirs.held_out[2].found == pytest.approx(ours.held_out[2].found, nan_ok=True)


def test_a_program_of_torch_export_holds_the_context_s_weights(run, tmp_path):
    path = export_night_model(run, tmp_path / "s.pt2", "torch-export")
    extra = {deploy.METADATA: ""}
    program = torch.export.load(str(path), extra_files=extra).module()
    metadata = json.loads(extra[deploy.METADATA])
    assert metadata["preprocessing"]["frames"] == VIDEO.frames and metadata["night_format"] == 1
    x = 100 * torch.randn(4, len(VIDEO.body_channels), VIDEO.body_samples)
    model = load_night_model(run)
    out = program(x)
    rows = torch.cat([out["embedding"], out["logits"]], dim=1)
    torch.testing.assert_close(rows, model.embed({"body": x}), rtol=1e-4, atol=1e-4)
    head = ContextHead(**metadata["context"]["options"])
    head.load_state_dict(load(base64.b64decode(metadata["context_network"])))
    valid = torch.ones(4, dtype=torch.bool)
    found = head.eval()(rows[None], valid[None])[0].exp()
    torch.testing.assert_close(found, model.stage(rows, valid), rtol=1e-4, atol=1e-4)


def test_the_command_exports_in_both_forms(run, tmp_path, capsys):
    out = tmp_path / "a.onnx"
    assert main(["export", "--model", str(run), "--out", str(out), "--student", "hmm"]) == 0
    assert capsys.readouterr().out == f"written: {out}\n" and out.is_file()
    assert main(["export", str(run), str(tmp_path / "b.onnx")]) == 0
    for arguments, message in [
        ([], "name the run folder"),
        ([str(run), "--model", str(run)], "the run folder is named twice"),
        (["--model", str(run), "--input-shape", "6"], "knows its input"),
        (["--model", str(run), "--student", "khn"], "no student of method 'khn'"),
        (["--model", str(tmp_path)], "--input-shape is missing"),
    ]:
        assert main(["export", *arguments]) == 1
        assert message in capsys.readouterr().err


def test_files_that_are_no_stager_are_refused(run, tmp_path):
    (tmp_path / "s.onnx").write_bytes(b"no program")
    with pytest.raises(ValueError, match="no ONNX program that can be run"):
        load_stager(tmp_path / "s.onnx")
    model = load_night_model(run)
    shape = (len(VIDEO.body_channels), VIDEO.body_samples)
    deploy.export(model.encoder, tmp_path / "e.onnx", input_shape=shape)
    with pytest.raises(ValueError, match="no sleep stager .* lacks night_format, name"):
        load_stager(tmp_path / "e.onnx")
    with pytest.raises(FileNotFoundError, match="no exported student"):
        load_stager(tmp_path / "missing.onnx")
    with pytest.raises(ValueError, match="holds one student"):
        load_stager(tmp_path / "e.onnx", "kd")


CODE = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
from xdistill.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_night_is_staged_without_the_libraries_of_training(run, film, tmp_path):
    path = export_night_model(run, tmp_path / "s.onnx")
    out = tmp_path / "night"
    done = subprocess.run(
        [sys.executable, "-c", CODE, "stage", str(film), "--model", str(path), "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {one.name for one in out.iterdir()}
    assert {"report.html", "epochs.csv", "hypnogram.edf", "hypnogram.png"} <= names
    stager = load_stager(run)
    epochs = film_epochs(film, stager.preprocessing)
    right = stage_film(epochs, stager, 3).night("a", None).probabilities
    with Path(out / "epochs.csv").open() as file:
        header = file.readline().strip().split(",")
        cells = [line.split(",") for line in file]
    columns = [header.index(f"p_{name}") for name in ("W", "N1", "N2", "N3", "REM")]
    found = np.array([[float(row[at]) for at in columns] for row in cells])
    np.testing.assert_allclose(found, right, atol=2e-4)
