"""Weights of another number of channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xdistill as xd
from xdistill.encoders import save_weights
from xdistill.encoders.input_channels import weights_for_channels, with_input_channels
from xdistill.encoders.pretrained import load_pretrained


class Net(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv(x).mean(dim=(2, 3)))


def test_a_grey_picture_has_the_features_that_it_has_as_rgb(tmp_path):
    rgb, grey = Net(3), Net(1)
    save_weights(rgb, tmp_path / "rgb.safetensors")
    load_pretrained(grey, tmp_path / "rgb.safetensors")
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(grey(x), rgb(x.expand(-1, 3, -1, -1)))
    assert grey.conv.in_channels == 1


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_as_timm_does_it(channels):
    adapt = pytest.importorskip("timm.models").adapt_input_conv
    weight = torch.randn(5, 3, 3, 3)
    torch.testing.assert_close(weights_for_channels(weight, channels), adapt(channels, weight))


@pytest.mark.parametrize("name", ["torchvision/mc3_18", "r2plus1d_18"])
def test_rgb_film_weights_serve_infrared(name, tmp_path):
    models = pytest.importorskip("torchvision.models.video")
    reference = getattr(models, name.rpartition("/")[2])(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "rgb.pth")
    encoder = xd.create_encoder(name, in_channels=1, weights=tmp_path / "rgb.pth").eval()
    reference.fc = nn.Identity()
    x = torch.rand(1, 1, 4, 16, 16)
    with torch.no_grad():
        found, expected = encoder(x).embedding, reference(x.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_reads_a_local_file(channels, tmp_path):
    timm = pytest.importorskip("timm")
    reference = timm.create_model("test_resnet", pretrained=False).eval()
    save_weights(reference, tmp_path / "w.safetensors")
    encoder = xd.create_encoder(
        "timm/test_resnet", in_channels=channels, weights=tmp_path / "w.safetensors"
    ).eval()
    reference.reset_classifier(0)
    x = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        expected = reference(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(encoder(x).embedding, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Parameter 'final_layer_with_constraint:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_braindecode_reads_a_local_file(tmp_path):
    pytest.importorskip("braindecode")
    options = {"in_channels": 2, "n_times": 300}
    first = xd.create_encoder("braindecode/EEGNet", num_classes=4, **options).eval()
    save_weights(first.network, tmp_path / "w.safetensors")
    options["weights"] = tmp_path / "w.safetensors"
    second = xd.create_encoder("braindecode/EEGNet", num_classes=3, **options).eval()
    x = torch.randn(2, 2, 300)
    torch.testing.assert_close(second(x).embedding, first(x).embedding)
    with pytest.raises(ValueError, match="does not fit EEGNet: .*of another shape"):
        xd.create_encoder("braindecode/EEGNet", **{**options, "in_channels": 3})


def test_a_file_of_another_network_is_named(tmp_path):
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w.safetensors does not fit Net: 4 missing"):
        load_pretrained(Net(1), tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_pretrained(Net(1), tmp_path / "nothing.pth")


def test_a_convolution_keeps_its_groups_and_padding():
    conv = nn.Conv2d(4, 8, 3, padding=1, groups=2, padding_mode="circular")
    changed = with_input_channels(conv, 6)
    assert (changed.groups, changed.padding_mode, changed.in_channels) == (2, "circular", 6)
    with pytest.raises(ValueError, match="2 groups, which 3 channel"):
        with_input_channels(conv, 3)
