"""The contract of an encoder, for every one that xdistill registers."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.encoders.films import accuracy_after, blob_film
from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.encoders.head import Head
from xdistill.encoders.video import add_motion, normalise_clip, pool_mean_std
from xdistill.registry import create_encoder, encoders, list_encoders
from xdistill.types import Encoder, Outputs

SHAPES = {
    "video": (8, 32, 32),
    "depth": (8, 32, 32),
    "image": (24, 40),
    "eeg": (3000,),
    "audio": (1600,),
    "inertial": (64,),
    "skeleton": (16, 25),
    "tabular": (),
    "body": (64,),
    "video_body": (8 * 24 * 24 + 3 * 64,),
}
OWN = [name for name in list_encoders() if encoders.provider(name).startswith("xdistill.")]
QUICK = [name for name in OWN if name != "r2plus1d_18"]
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name not in QUICK else []) for name in OWN]


def batch(encoder, rows: int = 2) -> torch.Tensor:
    """A random batch that the encoder takes."""
    shape = (rows, encoder.in_channels, *SHAPES[encoder.modality])
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def make(name: str, channels: int = 1, num_classes: int | None = 5, **options):
    torch.manual_seed(0)
    if name == "video_body":  # a row is flat, and tells nothing of its channels
        shape = {"frames": 8, "size": 24, "body_channels": 3, "body_samples": 64}
        channels, options = 1, {**shape, **options}
    return create_encoder(name, num_classes=num_classes, in_channels=channels, **options)


def test_every_promised_encoder_is_registered():
    assert set(OWN) >= {
        "attnsleep",
        "audio_small",
        "body_small",
        "eeg_small",
        "image_small",
        "inertial_small",
        "mlp",
        "r2plus1d_18",
        "skeleton_small",
        "video_body",
        "video_breathing",
        "video_small",
    }


@pytest.mark.parametrize("name", QUICK)
def test_listed_under_its_modality(name):
    encoder = make(name)
    assert isinstance(encoder, Encoder)
    assert name in list_encoders(encoder.modality)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_classes", [None, 5])
@pytest.mark.parametrize("name", NAMES)
def test_shapes(name, channels, num_classes):
    encoder = make(name, channels, num_classes).eval()
    with torch.no_grad():
        outputs = encoder(batch(encoder))
    assert isinstance(outputs, Outputs)
    assert outputs.embedding.shape == (2, encoder.dim)
    assert torch.isfinite(outputs.embedding).all()
    if num_classes is None:
        assert outputs.logits is None
    else:
        assert outputs.logits.shape == (2, num_classes)
    assert all(len(tensor) == 2 for tensor in outputs.hidden.values())


@pytest.mark.parametrize("num_classes", [None, 5])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name, num_classes):
    encoder = make(name, 3, num_classes)
    outputs = encoder(batch(encoder, rows=4))
    output = outputs.embedding if outputs.logits is None else outputs.logits
    (output * torch.randn_like(output)).sum().backward()
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert not [name for name, p in trained.items() if p.grad is None]
    # some may be zero: BatchNorm takes away the bias before it
    assert sum(bool(p.grad.any()) for p in trained.values()) > 0.9 * len(trained)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_depends_on_itself_alone_in_eval(name):
    encoder = make(name).eval()
    x = batch(encoder, rows=3)
    with torch.no_grad():
        together, alone = encoder(x), encoder(x[1:2])
    torch.testing.assert_close(together.embedding[1:2], alone.embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_file(name, tmp_path):
    encoder = make(name)
    encoder(batch(encoder, rows=4))  # moves running statistics away from their defaults
    other = make(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(0.5)
    save_weights(encoder, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    x = batch(encoder)
    with torch.no_grad():
        assert torch.equal(encoder.eval()(x).embedding, other.eval()(x).embedding)


@pytest.mark.parametrize("name", QUICK)
def test_copies_are_independent(name):
    encoder = make(name).eval()
    x = batch(encoder)
    before = encoder(x).embedding.detach()
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert torch.equal(twin(x).embedding, before)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_another_rank(name):
    encoder = make(name)
    with pytest.raises(ValueError, match=rf"{encoder.modality}: expected \d axes"):
        encoder(batch(encoder)[0])


@pytest.mark.parametrize("name", NAMES)
def test_refuses_another_channel_count(name):
    encoder = make(name, 3)
    x = torch.cat([batch(encoder), batch(encoder)], dim=1)
    expected = rf"expected {encoder.in_channels} channel\(s\) on axis 1"
    with pytest.raises(ValueError, match=expected):
        encoder(x)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_integers(name):
    encoder = make(name)
    with pytest.raises(TypeError, match="floating-point"):
        encoder(torch.zeros_like(batch(encoder), dtype=torch.uint8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["num_classes", "in_channels"])
def test_refuses_a_count_of_zero(name, option):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        create_encoder(name, **{"num_classes": 5, "in_channels": 1, option: 0})


@pytest.mark.parametrize("name", ["video_breathing", "video_small", "mlp"])
def test_compiles_as_one_graph(name):
    encoder = make(name).eval()
    x = batch(encoder)
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x).embedding, encoder(x).embedding)


@pytest.mark.parametrize(
    "name", ["video_breathing", "video_small", "eeg_small", "mlp", "audio_small"]
)
def test_runs_under_autocast(name):
    encoder = make(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = encoder(batch(encoder))
    outputs.logits.float().sum().backward()
    assert torch.isfinite(outputs.embedding).all()


def test_r2plus1d_18_is_the_published_network():
    encoder = make("r2plus1d_18", 1)
    assert 31e6 < sum(parameter.numel() for parameter in encoder.parameters()) < 33e6
    assert [len(encoder.get_submodule(f"layer{n}")) for n in (1, 2, 3, 4)] == [2, 2, 2, 2]
    with torch.no_grad():
        outputs = encoder.eval()(torch.zeros(1, 1, 4, 32, 32))
    assert outputs.embedding.shape == (1, 512) and outputs.logits.shape == (1, 5)
    assert outputs.hidden == {}


@pytest.mark.slow
def test_r2plus1d_18_reads_torchvisions_file_and_returns_stages(tmp_path):
    from torchvision.models.video import r2plus1d_18

    reference = r2plus1d_18(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "kinetics.pth")
    encoder = make("r2plus1d_18", 3, weights=tmp_path / "kinetics.pth", stages=True).eval()
    x = torch.rand(1, 3, 4, 32, 32)
    reference.fc = torch.nn.Identity()
    with torch.no_grad():
        outputs = encoder(x)
        torch.testing.assert_close(outputs.embedding, reference(x))
    assert list(outputs.hidden) == ["layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize("name", ["video_breathing", "video_small", "r2plus1d_18"])
def test_video_encoders_take_depth(name):
    encoder = make(name, 1, modality="depth").eval()
    with torch.no_grad():
        assert encoder(torch.rand(1, 1, 4, 32, 32)).embedding.shape == (1, encoder.dim)
    with pytest.raises(ValueError, match="depth: expected 5 axes"):
        encoder(torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize("shape", [(1, 1, 1, 8, 8), (2, 1, 30, 48, 48), (1, 1, 32, 64, 33)])
def test_video_small_takes_any_size(shape):
    assert make("video_small").eval()(torch.rand(shape)).embedding.shape == (shape[0], 128)


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(0.05, 20), offset=st.floats(-5, 5), seed=st.integers(0, 2**16))
def test_a_clip_loses_its_exposure(gain, offset, seed):
    x = torch.rand(2, 1, 4, 6, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        normalise_clip(gain * x + offset), normalise_clip(x), rtol=1e-3, atol=1e-3
    )


def test_a_constant_clip_stays_finite():
    x = torch.full((1, 1, 4, 8, 8), 0.3)
    torch.testing.assert_close(normalise_clip(x), torch.zeros_like(x), atol=1e-3, rtol=0)
    outputs = make("video_small")(x)
    outputs.logits.sum().backward()
    assert torch.isfinite(outputs.embedding).all()


def test_motion_is_zero_where_nothing_moves():
    x = torch.randn(1, 2, 1, 5, 5).expand(1, 2, 6, 5, 5)
    still = add_motion(x)
    assert still.shape == (1, 4, 6, 5, 5)
    torch.testing.assert_close(still[:, :2], x)
    torch.testing.assert_close(still[:, 2:], torch.zeros(1, 2, 6, 5, 5), atol=1e-5, rtol=0)


def test_pooling_tells_a_rhythm_from_stillness():
    t = torch.arange(30.0)
    wave = torch.sin(2 * torch.pi * 0.25 * t).view(1, 1, 30, 1, 1).expand(1, 1, 30, 2, 2)
    mean, std = pool_mean_std(wave)[0]
    expected = wave[0, 0, :, 0, 0].std(correction=0)
    torch.testing.assert_close(mean, wave.mean())
    torch.testing.assert_close(std, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_video_small_learns_the_rate_of_a_movement_below_one_pixel():
    torch.manual_seed(0)

    def clips(rows: int):
        target = torch.randint(0, 2, (rows,))
        rate_hz = torch.tensor([0.15, 0.35])[target, None]
        phase = 6.28 * torch.rand(rows, 1)
        shift_px = 0.4 * torch.sin(6.28 * rate_hz * torch.arange(30.0) + phase)  # b t
        centre = 12 + 8 * torch.rand(rows, 1)
        return blob_film(shift_px, centre, 32, 40), target

    encoder = make("video_small", 1, 2)
    assert accuracy_after(encoder, clips, steps=60, rows=16, test=64) > 0.8


def test_eeg_small_keeps_the_amplitude():
    encoder = make("eeg_small").eval()
    x = 20 * torch.randn(1, 1, 3000)
    with torch.no_grad():
        assert not torch.allclose(encoder(x).embedding, encoder(4 * x).embedding, rtol=0.1)


@pytest.mark.parametrize("samples", [1, 50, 3750])
def test_signal_encoders_take_any_length(samples):
    assert make("eeg_small", sfreq_hz=125.0).eval()(torch.randn(1, 1, samples)).logits.shape == (
        1,
        5,
    )


def test_skeleton_names_the_joints_that_came():
    encoder = make("skeleton_small", 3, joints=17)
    with pytest.raises(ValueError, match=r"expected 17 joints.*got 25.*joints=25"):
        encoder(torch.randn(2, 3, 8, 25))


def test_attnsleep_says_how_long_an_epoch_is():
    with pytest.raises(ValueError, match=r"expected 3000 samples, got 2000"):
        make("attnsleep")(torch.randn(2, 1, 2000))


@pytest.mark.parametrize("sample_rate_hz", [8_000, 48_000])
def test_audio_small_takes_short_sounds(sample_rate_hz):
    encoder = make("audio_small", sample_rate_hz=sample_rate_hz, n_mels=40).eval()
    assert encoder(torch.randn(1, 1, 100)).embedding.shape == (1, encoder.dim)
    assert torch.isfinite(encoder(torch.zeros(1, 1, 100)).embedding).all()


def test_mlp_serves_features_of_another_modality():
    encoder = create_encoder("mlp", in_features=7, num_classes=2, dim=3, hidden=(), modality="eeg")
    outputs = encoder(torch.randn(4, 7))
    assert encoder.modality == "eeg" and outputs.embedding.shape == (4, 3)
    with pytest.raises(ValueError, match=r"eeg: expected 2 axes \[b c\]"):
        encoder(torch.randn(4, 7, 10))


@pytest.mark.parametrize("options", [{}, {"in_features": 3, "in_channels": 3}])
def test_mlp_wants_its_features_once(options):
    with pytest.raises(ValueError, match="number of features once"):
        create_encoder("mlp", **options)


def test_dropout_leaves_the_embedding_alone():
    head = Head(8, 3, dropout=0.5).train()
    embedding = torch.randn(4, 8)
    outputs = head(embedding)
    assert outputs.embedding is embedding
    assert not torch.allclose(outputs.logits, head.classifier(embedding))


def test_an_unknown_modality_is_refused_at_once():
    with pytest.raises(ValueError, match="unknown modality 'vidoe'; did you mean 'video'"):
        make("video_small", modality="vidoe")


def test_importing_the_encoders_loads_no_heavy_library():
    heavy = ("torchvision", "timm", "braindecode", "torchaudio", "mne", "av", "matplotlib")
    code = (
        "import sys, xdistill.registry as r; r.list_encoders(); r.create_encoder('eeg_small');"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clip_and_signals_are_read_together():
    """The row is the clip and the signals of `joined_row`, and both matter."""
    from xdistill.encoders.body import joined_row

    encoder = make("video_body").eval()
    clip, signals = torch.rand(1, 8, 24, 24), torch.rand(3, 64)
    row = joined_row(clip, signals)
    with torch.no_grad():
        base = encoder(row[None]).embedding
        parts = encoder.video(clip[None]).embedding, encoder.body(signals[None]).embedding
    torch.testing.assert_close(base, torch.cat(parts, dim=1))
    with pytest.raises(ValueError, match="a row has 4801 values, expected a clip"):
        encoder(torch.zeros(1, 1, 4801))
    with pytest.raises(ValueError, match="one channel, got 2"):
        create_encoder("video_body", in_channels=2)
