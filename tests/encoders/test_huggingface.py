"""Models of transformers from a local folder: tiny ones with random weights."""

from __future__ import annotations

import pytest
import torch

import xdistill as xd

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
CLIPS = {"image_size": 16, "patch_size": 8, "num_frames": 4}


def saved(folder, kind: str, **options) -> str:
    config = getattr(transformers, f"{kind}Config")(**options)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder / kind)
    return f"hf/{folder / kind}"


@pytest.fixture
def vit(tmp_path):
    return saved(tmp_path, "ViT", image_size=16, patch_size=8, **SMALL)


def test_pictures(vit):
    encoder = xd.create_encoder(vit, num_classes=4).eval()
    x = torch.rand(2, 3, 16, 16)
    outputs = encoder(x)
    assert isinstance(encoder, xd.Encoder) and encoder.dim == 16
    assert outputs.embedding.shape == (2, 16) and outputs.logits.shape == (2, 4)
    reference = transformers.AutoModel.from_pretrained(vit.removeprefix("hf/")).eval()
    states = reference(pixel_values=x).last_hidden_state
    torch.testing.assert_close(outputs.embedding, states.mean(1))
    first = xd.create_encoder(vit, pooling="first").eval()
    torch.testing.assert_close(first(x).embedding, states[:, 0])


def test_one_channel_is_repeated(vit):
    grey = torch.rand(2, 1, 16, 16)
    one, three = (xd.create_encoder(vit, in_channels=n).eval() for n in (1, 3))
    torch.testing.assert_close(one(grey).embedding, three(grey.expand(-1, 3, -1, -1)).embedding)
    with pytest.raises(ValueError, match="reads 3 channels, got in_channels=2"):
        xd.create_encoder(vit, in_channels=2)


def test_maps_are_averaged(tmp_path):
    name = saved(tmp_path, "ResNet", hidden_sizes=[8, 12], depths=[1, 1], embedding_size=8)
    assert xd.create_encoder(name).eval()(torch.rand(2, 3, 32, 32)).embedding.shape == (2, 12)


def test_clips(tmp_path):
    name = saved(tmp_path, "VideoMAE", **CLIPS, **SMALL)
    encoder = xd.create_encoder(name, modality="video", in_channels=1, num_classes=3).eval()
    outputs = encoder(torch.rand(2, 1, 4, 16, 16))
    assert outputs.embedding.shape == (2, 16) and outputs.logits.shape == (2, 3)


def test_sound(tmp_path):
    conv = {"conv_dim": [8, 8], "conv_stride": [5, 4], "conv_kernel": [10, 8]}
    embeddings = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    name = saved(tmp_path, "Wav2Vec2", **SMALL, **conv, **embeddings)
    encoder = xd.create_encoder(name, modality="audio").eval()
    assert encoder(torch.randn(2, 1, 800)).embedding.shape == (2, 16)


def test_mistakes_are_named(vit, tmp_path):
    with pytest.raises(ValueError, match=r"\(vit\) reads pictures, but modality 'audio' has axes"):
        xd.create_encoder(vit, modality="audio")
    with pytest.raises(FileNotFoundError, match="no folder with a config.json.*nothing is down"):
        xd.create_encoder("hf/bert-base-uncased")
    (tmp_path / "ViT" / "model.safetensors").unlink()
    with pytest.raises(OSError, match="model.safetensors"):
        xd.create_encoder(vit)
    assert xd.create_encoder(vit, pretrained=False).dim == 16
