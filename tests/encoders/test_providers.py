"""Encoders that other libraries provide."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.extras import import_extra
from xdistill.registry import create_encoder
from xdistill.types import Encoder

pytestmark = [
    # braindecode's own defaults
    pytest.mark.filterwarnings("ignore:Parameter 'final_layer_with_constraint:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
]
EEG_MODELS = [
    "EEGNet",
    "ShallowFBCSPNet",
    "Deep4Net",
    "SleepStagerChambon2018",
    "TCFormer",
    "USleep",
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_classes", [None, 4])
@pytest.mark.parametrize(
    ("modality", "shape", "options"),
    [
        ("image", (32, 32), {}),
        ("video", (3, 32, 32), {}),
        ("depth", (3, 32, 32), {}),
        ("audio", (3200,), {"n_mels": 32}),
    ],
)
def test_timm_serves_whatever_has_pictures(modality, shape, options, channels, num_classes):
    encoder = create_encoder(
        "timm/test_resnet.r160_in1k",
        num_classes=num_classes,
        in_channels=channels,
        modality=modality,
        **options,
    ).eval()
    assert isinstance(encoder, Encoder) and encoder.modality == modality
    outputs = encoder(torch.randn(2, channels, *shape))
    assert outputs.embedding.shape == (2, encoder.dim)
    assert (outputs.logits is None) == (num_classes is None)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "mobilenetv3_small_050"])
def test_timm_knows_the_width_of_its_embedding(name):
    options = {"img_size": 32} if name == "test_vit" else {}
    encoder = create_encoder(f"timm/{name}", **options).eval()
    assert encoder(torch.randn(1, 3, 32, 32)).embedding.shape == (1, encoder.dim)


def test_timm_averages_the_frames():
    encoder = create_encoder("timm/test_resnet", modality="video").eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        frames = torch.stack([encoder.network(clip[:, :, t]) for t in range(4)])
        torch.testing.assert_close(encoder(clip).embedding, frames.mean(0), rtol=1e-4, atol=1e-5)


def test_timm_refuses_a_modality_without_pictures():
    with pytest.raises(ValueError, match=r"modality 'eeg' with axes \[b c t\]"):
        create_encoder("timm/test_resnet", modality="eeg")


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_video_model(channels):
    encoder = create_encoder("torchvision/mc3_18", num_classes=4, in_channels=channels).eval()
    outputs = encoder(torch.randn(1, channels, 4, 16, 16))
    assert outputs.embedding.shape == (1, 512) and outputs.logits.shape == (1, 4)
    with pytest.raises(ValueError, match="video: expected 5 axes"):
        encoder(torch.randn(1, channels, 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("mvit_v1_b", (16, 224, 224)),  # these two know one size
        ("mvit_v2_s", (16, 224, 224)),
        ("r2plus1d_18", (4, 32, 32)),
        ("r3d_18", (4, 32, 32)),
        ("s3d", (16, 224, 224)),
        ("swin3d_t", (4, 64, 64)),
    ],
)
def test_every_kind_of_torchvision_video_model(name, clip):
    encoder = create_encoder(f"torchvision/{name}", num_classes=4, in_channels=1).eval()
    with torch.no_grad():
        outputs = encoder(torch.randn(1, 1, *clip))
    assert outputs.embedding.shape == (1, encoder.dim) and outputs.logits.shape == (1, 4)


def test_torchvision_backbone_from_a_file(tmp_path):
    from torchvision.models.video import mc3_18

    reference = mc3_18(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "kinetics.pth")
    encoder = create_encoder("torchvision/mc3_18", weights=tmp_path / "kinetics.pth").eval()
    reference.fc = torch.nn.Identity()
    x = torch.randn(1, 3, 4, 16, 16)
    torch.testing.assert_close(encoder(x).embedding, reference(x))


@pytest.mark.parametrize("num_classes", [None, 4])
@pytest.mark.parametrize("name", EEG_MODELS)
def test_braindecode_model(name, num_classes):
    encoder = create_encoder(
        f"braindecode/{name}", num_classes=num_classes, in_channels=3, n_times=600, sfreq_hz=100.0
    )
    assert isinstance(encoder, Encoder) and encoder.modality == "eeg" and encoder.training
    for rows in (3, 1):
        outputs = encoder.eval()(torch.randn(rows, 3, 600))
        assert outputs.embedding.shape == (rows, encoder.dim)
        assert (outputs.logits is None) == (num_classes is None)
    (outputs.embedding if outputs.logits is None else outputs.logits).square().sum().backward()
    wanted = [p for p in encoder.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in wanted)


def test_braindecode_embedding_is_what_the_classifier_sees():
    encoder = create_encoder("braindecode/CTNet", num_classes=4, in_channels=3, n_times=600).eval()
    outputs = encoder(torch.randn(2, 3, 600))
    torch.testing.assert_close(encoder.network.final_layer(outputs.embedding), outputs.logits)


def test_braindecode_layer_is_a_choice():
    options = {"num_classes": 4, "in_channels": 3, "n_times": 600}
    encoder = create_encoder("braindecode/EEGNet", layer="bnorm_1", **options).eval()
    assert encoder(torch.randn(2, 3, 600)).embedding.shape == (2, encoder.dim)
    with pytest.raises(
        ValueError, match=r"unknown layer of EEGNet 'bnorm_9'; did you mean .*'bnorm_1'"
    ):
        create_encoder("braindecode/EEGNet", layer="bnorm_9", **options)


def test_braindecode_without_a_linear_classifier_asks_for_the_layer():
    with pytest.raises(ValueError, match="pass layer=…"):
        create_encoder("braindecode/SSTDPN", num_classes=4, in_channels=3, n_times=600)


def test_braindecode_copy_and_file(tmp_path):
    options = {"num_classes": 4, "in_channels": 2, "n_times": 300}
    encoder = create_encoder("braindecode/EEGNet", **options).eval()
    x = torch.randn(2, 2, 300)
    expected = encoder(x).embedding.detach()
    twin = copy.deepcopy(encoder)  # after a forward pass, whose tensors must not be kept
    other = create_encoder("braindecode/EEGNet", **options).eval()
    save_weights(encoder, tmp_path / "eegnet.safetensors")
    load_weights(other, tmp_path / "eegnet.safetensors")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert torch.equal(twin(x).embedding, expected)
    assert torch.equal(other(x).embedding, expected)


def test_braindecode_says_how_long_a_window_is():
    encoder = create_encoder("braindecode/EEGNet", n_times=300)
    with pytest.raises(ValueError, match=r"expected 300 samples, got 200.*n_times=200"):
        encoder(torch.randn(2, 1, 200))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm/resnet1", "'resnet18'"),
        ("torchvision/r2plus1d_81", "'r2plus1d_18'"),
        ("braindecode/eegnet", "'EEGNet'"),
        ("braindecode/EEGNt", "'EEGNet'"),
    ],
)
def test_unknown_model_names_the_near_ones(name, near):
    with pytest.raises(
        ValueError, match=f"model '{name.partition('/')[2]}'; did you mean .*{near}"
    ):
        create_encoder(name)


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("timm/resnet18", "timm", "image"),
        ("torchvision/mc3_18", "torchvision.models", "video"),
        ("r2plus1d_18", "torchvision.models.video", "video"),
        ("braindecode/EEGNet", "braindecode.models", "eeg"),
        ("attnsleep", "braindecode.models", "eeg"),
        ("audio_small", "torchaudio.transforms", "audio"),
    ],
)
def test_a_missing_library_is_one_sentence(name, library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"pip install xdistill\[{extra}\]") as caught:
        create_encoder(name)
    assert "\n" not in str(caught.value)


def test_a_library_that_does_not_fit_torch_is_the_same_sentence(tmp_path, monkeypatch):
    (tmp_path / "wrong_cuda.py").write_text("raise OSError('libtorch.so: undefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"undefined symbol.*pip install xdistill\[audio\]"):
        import_extra("wrong_cuda", "audio")
