from __future__ import annotations

import pytest
import torch
from torch import nn

import xdistill as xd
from tests.toy import ToyEncoder


def test_the_mean_of_the_map_is_the_logits():
    encoder = xd.create_encoder("timm/resnet18", in_channels=1, num_classes=5)
    assert xd.class_map(encoder, "layer4") is encoder
    outputs = encoder.eval()(torch.rand(2, 1, 96, 64))
    assert {name: tuple(x.shape) for name, x in outputs.hidden.items()} == {
        "class_map": (2, 5, 3, 2)
    }
    torch.testing.assert_close(outputs.hidden["class_map"].mean((2, 3)), outputs.logits)
    outputs.hidden["class_map"].sum().backward()
    assert encoder.head.classifier.weight.grad.any()
    assert encoder.network.conv1.weight.grad.any()


def test_frames_of_a_film_are_an_axis():
    encoder = xd.create_encoder("timm/resnet18", in_channels=1, modality="video", num_classes=4)
    outputs = xd.class_map(encoder, "layer4").eval()(torch.rand(2, 1, 3, 64, 64))
    assert outputs.hidden["class_map"].shape == (2, 4, 3, 2, 2)
    torch.testing.assert_close(outputs.hidden["class_map"].mean((2, 3, 4)), outputs.logits)


def test_what_cannot_be_mapped_is_refused():
    with pytest.raises(ValueError, match="no linear head.classifier to apply to a map; create"):
        xd.class_map(xd.create_encoder("timm/resnet18"), "layer4")
    encoder = xd.create_encoder("timm/resnet18", num_classes=5)
    with pytest.raises(ValueError, match=r"512 features to the channels of 'layer3'.*2, 256"):
        xd.class_map(encoder, "layer3")(torch.rand(2, 3, 64, 64))
    with pytest.raises(ValueError, match="no module 'layer9'"):
        xd.class_map(xd.create_encoder("timm/resnet18", num_classes=5), "layer9")


def test_a_classifier_elsewhere():
    encoder = ToyEncoder("signal", 4, 3)
    last = next(m for m in reversed(list(encoder.modules())) if isinstance(m, nn.Linear))
    assert xd.class_map(encoder, next(iter(dict(encoder.named_children()))), last) is encoder


def test_maps_of_two_encoders_meet_in_the_losses():
    torch.manual_seed(0)
    student = xd.create_encoder("timm/resnet18", in_channels=1, modality="video", num_classes=3)
    teacher = xd.create_encoder("timm/resnet18", in_channels=1, modality="video", num_classes=3)
    for one in (student, teacher):
        xd.class_map(one, "layer4")
    x = torch.rand(2, 1, 2, 32, 32)
    with torch.no_grad():
        theirs = teacher.eval()(x)
    for loss in (xd.SDD(), xd.CATKD()):
        value = loss(student(x), theirs, torch.tensor([0, 1]))
        value.backward()
        assert value > 0 and student.head.classifier.weight.grad.any()
