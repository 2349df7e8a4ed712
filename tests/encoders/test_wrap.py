"""Plain networks as encoders."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import xdistill as xd


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 4)

    def forward_features(self, x):
        return self.conv(x).relu()

    def forward(self, x):
        return self.fc(self.forward_features(x).mean(dim=(2, 3)))


X = torch.randn(2, 3, 9, 9)


def test_a_layer_is_the_embedding_and_the_output_the_logits():
    net = Plain().eval()
    encoder = xd.wrap(net, "image", features="conv", example=X)
    outputs = encoder(X)
    assert encoder.dim == 8 and encoder.modality == "image" and isinstance(encoder, xd.Encoder)
    torch.testing.assert_close(outputs.embedding, net.conv(X).mean(dim=(2, 3)))
    torch.testing.assert_close(outputs.logits, net(X))


def test_a_function_and_a_layer_inside_make_what_the_network_makes():
    net = Plain()
    encoder = xd.wrap(net, "image", features=net.forward_features, classifier="fc")
    torch.testing.assert_close(encoder(X).logits, net(X))
    assert encoder.dim == 8
    assert set(encoder.state_dict()) == {f"network.{name}" for name in net.state_dict()}


def test_without_features_the_output_is_the_embedding():
    encoder = xd.wrap(nn.Linear(5, 7), "tabular", classifier=3, example=torch.randn(2, 5))
    outputs = encoder(torch.randn(4, 5))
    assert encoder.dim == 7 and outputs.embedding.shape == (4, 7) and outputs.logits.shape == (4, 3)
    assert xd.wrap(nn.Linear(5, 7), "tabular", dim=7)(torch.randn(4, 5)).logits is None


def test_a_wrapped_student_is_trained_by_a_loss_and_copied():
    encoder = xd.wrap(Plain(), "image", features="conv", example=X)
    twin = copy.deepcopy(encoder)
    spec = xd.Spec(8)
    teacher = xd.Outputs(torch.randn(2, 8), torch.randn(2, 4))
    loss = xd.KD().bind(spec, spec)(encoder(X), teacher, torch.tensor([0, 1]))
    loss.backward()
    assert encoder.network.fc.weight.grad is not None
    torch.testing.assert_close(twin(X).logits, encoder(X).logits)
    twin.network.conv.weight.data.zero_()
    assert not torch.equal(twin(X).embedding, encoder(X).embedding)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modality": "imge"}, "unknown modality 'imge'; did you mean 'image'"),
        ({"features": "cnv"}, r"Plain has no module 'cnv'; choose one of \['conv', 'fc'\]"),
        ({"classifier": "head"}, "Plain has no module 'head'"),
        ({}, "nothing tells how wide the embedding is; pass dim="),
        ({"classifier": 0, "dim": 4}, "number of classes from 1, got 0"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        xd.wrap(Plain(), **{"modality": "image", **arguments})


def test_what_is_no_vector_for_each_row_asks_for_a_function():
    encoder = xd.wrap(nn.Identity(), "eeg", dim=3)
    with pytest.raises(ValueError, match=r"Identity gives shape \(2, 1, 5\) for 2 rows.*features="):
        encoder(torch.randn(2, 1, 5))
    encoder = xd.wrap(Plain(), "image", features=lambda x: {"a": x}, dim=3)
    with pytest.raises(ValueError, match=r"features\(x\) gives dict for 2 rows"):
        encoder(X)
    with pytest.raises(TypeError, match="expects an nn.Module, got function"):
        xd.wrap(lambda x: x, "image")


def test_the_mode_of_the_network_stays_as_it_was():
    net = Plain().eval()
    xd.wrap(net, "image", features="conv", example=X)
    assert not net.training
