"""A student as a file of its own."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import xdistill as xd
from xdistill import deploy
from xdistill.export import load_student, save_student
from xdistill.registry import encoders

SHAPES = {
    "video_breathing": (1, 8, 24, 24),
    "video_small": (1, 8, 32, 24),
    "eeg_small": (1, 700),
    "inertial_small": (6, 107),
    "body_small": (6, 107),
    "video_body": (1, 4 * 8 * 8 + 2 * 64),
    "skeleton_small": (3, 19, 25),
    "audio_small": (1, 1600),
    "image_small": (3, 24, 40),
    "mlp": (7,),
    "attnsleep": (1, 3000),
    "r2plus1d_18": (1, 4, 24, 24),
}
OPTIONS = {"video_body": {"frames": 4, "size": 8, "body_channels": 2, "body_samples": 64}}
THEIRS = {
    "timm/test_resnet": ((3, 3, 32, 32), {"modality": "video"}),
    "timm/test_vit": ((3, 32, 32), {"img_size": 32}),
    "torchvision/mc3_18": ((1, 4, 16, 16), {}),
    "braindecode/EEGNet": ((2, 300), {"n_times": 300}),
    "braindecode/Deep4Net": ((2, 600), {"n_times": 600}),
}
SLOW = ("r2plus1d_18", "attnsleep", "torchvision/mc3_18", "braindecode/Deep4Net")
CASES = [
    pytest.param(name, shape, options, marks=[pytest.mark.slow] if name in SLOW else [], id=name)
    for name, shape, options in [
        *((name, shape, OPTIONS.get(name, {})) for name, shape in SHAPES.items()),
        *((name, shape, options) for name, (shape, options) in THEIRS.items()),
    ]
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter 'final_layer_with_constraint:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
]


@pytest.fixture
def onnxruntime():
    for library in ("onnx", "onnxscript"):
        pytest.importorskip(library)
    return pytest.importorskip("onnxruntime")


def make(name: str, shape, options=None):
    encoder = xd.create_encoder(name, num_classes=5, in_channels=shape[0], **(options or {}))
    return encoder.eval()


def test_every_encoder_of_ours_has_a_case():
    ours = {n for n in xd.list_encoders() if encoders.provider(n).startswith("xdistill.")}
    assert set(SHAPES) == ours


@pytest.mark.parametrize(("name", "shape", "options"), CASES)
def test_torch_export_takes_any_batch(name, shape, options, tmp_path):
    encoder = make(name, shape, options)
    path = xd.export(encoder, tmp_path / "student", "torch-export", input_shape=shape)
    program = torch.export.load(str(path)).module()
    for rows in (1, 5):
        x = torch.randn(rows, *shape)
        found, expected = program(x), encoder(x)
        torch.testing.assert_close(found["logits"], expected.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["embedding"], expected.embedding, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "shape", "options"), CASES)
def test_onnx_takes_any_batch(name, shape, options, tmp_path, onnxruntime):
    encoder = make(name, shape, options)
    path = xd.export(encoder, tmp_path / "student.onnx", input_shape=shape)
    session = onnxruntime.InferenceSession(path)
    for rows in (1, 5):
        x = torch.randn(rows, *shape)
        embedding, logits = session.run(["embedding", "logits"], {"input": x.numpy()})
        expected = encoder(x)
        torch.testing.assert_close(torch.as_tensor(logits), expected.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            torch.as_tensor(embedding), expected.embedding, rtol=1e-4, atol=1e-4
        )


@pytest.fixture
def run(tmp_path):
    options = {"in_features": 6, "num_classes": 3, "dim": 8}
    encoder = xd.create_encoder("mlp", **options)
    save_student(tmp_path / "run", encoder, name="mlp", options=options, classes="abc")
    return tmp_path / "run"


def test_the_file_says_what_it_is(run, tmp_path):
    extra = {deploy.METADATA: ""}
    path = xd.export(run, tmp_path / "new" / "m.pt2", "torch-export", input_shape=(6,))
    torch.export.load(str(path), extra_files=extra)
    assert json.loads(extra[deploy.METADATA]) == {
        "modality": "tabular",
        "classes": ["a", "b", "c"],
        "num_classes": 3,
        "dim": 8,
        "input_shape": [6],
        "xdistill_version": xd.__version__,
    }


def test_further_metadata_is_kept_and_replaces_nothing(run, tmp_path):
    extra = {deploy.METADATA: ""}
    own = {"night": {"frames": 30}}
    path = xd.export(run, tmp_path / "m.pt2", "torch-export", input_shape=(6,), metadata=own)
    torch.export.load(str(path), extra_files=extra)
    assert json.loads(extra[deploy.METADATA])["night"] == {"frames": 30}
    with pytest.raises(ValueError, match=r"metadata has \['dim'\], which are written from"):
        xd.export(run, path, "torch-export", input_shape=(6,), metadata={"dim": 3})


def test_an_onnx_file_says_what_it_is(run, tmp_path, onnxruntime):
    path = xd.export(load_student(run), tmp_path / "m.onnx", input_shape=(6,))
    held = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(held["classes"]) == ["a", "b", "c"]
    assert json.loads(held["modality"]) == "tabular" and json.loads(held["input_shape"]) == [6]


def test_the_student_stays_as_it_was_and_compiled_ones_are_unwrapped(tmp_path):
    encoder = xd.create_encoder("mlp", in_features=6).train().double()
    compiled = torch.compile(encoder, backend="eager")
    xd.export(compiled, tmp_path / "m", "torch-export", input_shape=(6,))
    assert encoder.training and encoder.embed.weight.dtype == torch.float64


class Branching(nn.Module):
    modality, dim = "tabular", 3

    def forward(self, x):
        return xd.Outputs(x + 1 if float(x.sum()) > 0 else x)


class Fixed(nn.Module):
    modality, dim = "tabular", 3

    def forward(self, x):
        return xd.Outputs(x.reshape(3, 3) if x.shape[0] == 3 else x)


class Drawing(nn.Module):
    modality, dim = "tabular", 3

    def forward(self, x):
        return xd.Outputs(x + torch.rand_like(x))


@pytest.mark.parametrize("kind", [Branching, Fixed])
def test_what_cannot_be_exported_is_refused_in_a_sentence(kind, tmp_path):
    message = rf"^{kind.__name__} cannot be exported with a batch of any size, since torch.export"
    with pytest.raises(ValueError, match=message) as caught:
        xd.export(kind(), tmp_path / "m", "torch-export", input_shape=(3,))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_computes_something_else_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="returns another embedding than the student"):
        xd.export(Drawing(), tmp_path / "m", "torch-export", input_shape=(3,))
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_named(tmp_path):
    encoder = xd.create_encoder("mlp", in_features=6, num_classes=3)
    with pytest.raises(ValueError, match="format must be one of onnx, torch-export, got 'tf'"):
        xd.export(encoder, tmp_path / "m", "tf", input_shape=(6,))
    with pytest.raises(ValueError, match=r"expected 6 channel\(s\)"):
        xd.export(encoder, tmp_path / "m", "torch-export", input_shape=(5,))
    with pytest.raises(ValueError, match="classes names 2 classes, but the student has 3 logits"):
        xd.export(encoder, tmp_path / "m", "torch-export", input_shape=(6,), classes="ab")


def test_outputs_themselves_can_be_saved(tmp_path):
    encoder = xd.create_encoder("mlp", in_features=6).eval()
    x = torch.randn(2, 6)
    torch.export.save(torch.export.export(encoder, (x,)), tmp_path / "m.pt2")
    found = torch.export.load(tmp_path / "m.pt2").module()(x)
    assert isinstance(found, xd.Outputs)
    torch.testing.assert_close(found.embedding, encoder(x).embedding)
