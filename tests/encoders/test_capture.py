from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

import xdistill as xd
from tests.toy import ToyEncoder, toy_data, toy_encoders
from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.types import Outputs


def test_a_module_of_a_wrapped_network_by_its_own_name():
    encoder = xd.create_encoder("timm/resnet18", in_channels=1, num_classes=3).eval()
    assert xd.capture(encoder, ["layer2", "layer3"]) is encoder
    x = torch.rand(2, 1, 32, 32)
    outputs = encoder(x)
    assert {name: tuple(t.shape) for name, t in outputs.hidden.items()} == {
        "layer2": (2, 128, 4, 4),
        "layer3": (2, 256, 2, 2),
    }
    network = encoder.network
    by_hand = network.layer1(network.maxpool(network.act1(network.bn1(network.conv1(x)))))
    torch.testing.assert_close(outputs.hidden["layer2"], network.layer2(by_hand))


def test_frames_come_back_as_an_axis_of_time():
    encoder = xd.create_encoder("timm/resnet18", in_channels=1, modality="video").eval()
    x = torch.rand(2, 1, 5, 32, 32)
    hidden = xd.capture(encoder, ["layer3", "global_pool"])(x).hidden
    assert hidden["layer3"].shape == (2, 256, 5, 2, 2)
    assert hidden["global_pool"].shape == (2, 512, 5)
    alone = xd.capture(xd.create_encoder("timm/resnet18", in_channels=1), ["layer3"]).eval()
    alone.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(hidden["layer3"][1, :, 4], alone(x[1:, :, 4]).hidden["layer3"][0])


def test_tokens_of_frames():
    encoder = xd.create_encoder("timm/vit_tiny_patch16_224", modality="video", img_size=32).eval()
    hidden = xd.capture(encoder, ["blocks.3"])(torch.rand(2, 3, 4, 32, 32)).hidden
    assert hidden["blocks.3"].shape == (2, 4, 5, 192)


def test_a_video_model_of_torchvision():
    encoder = xd.create_encoder("torchvision/r3d_18", in_channels=1).eval()
    hidden = xd.capture(encoder, ["layer2", "layer2.1.conv1"])(torch.rand(2, 1, 4, 16, 16)).hidden
    assert hidden["layer2"].shape == hidden["layer2.1.conv1"].shape == (2, 128, 2, 4, 4)


def test_a_model_of_braindecode():
    options = {"num_classes": 3, "in_channels": 2, "n_times": 400}
    encoder = xd.create_encoder("braindecode/ShallowFBCSPNet", **options).eval()
    outputs = xd.capture(encoder, ["bnorm"])(torch.randn(2, 2, 400))
    assert outputs.hidden["bnorm"].shape[:2] == (2, 40)


def test_what_an_encoder_keeps_itself_stays():
    encoder = xd.capture(xd.create_encoder("eeg_small", num_classes=3), ["blocks.0.0"])
    assert list(encoder(torch.randn(2, 1, 3000)).hidden)[-1] == "blocks.0.0"
    assert "layer1" in encoder(torch.randn(2, 1, 3000)).hidden


def test_names_of_weights_and_gradients_stay():
    plain, student = toy_encoders()[0], xd.capture(toy_encoders()[0], ["body"])
    assert list(plain.state_dict()) == list(student.state_dict())
    x = torch.randn(4, 6)
    outputs = student(x)
    outputs.hidden["body"].square().sum().backward()
    assert student.body.weight.grad.any()
    file = io.BytesIO()
    torch.save(student, file)  # hooks and all, as a spawned worker gets it
    other = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert list(other(x).hidden) == ["body"]


def test_the_saved_student_loads_without_the_hooks(tmp_path):
    student = xd.capture(toy_encoders()[0], ["body"])
    save_weights(student, tmp_path / "student.safetensors")
    load_weights(toy_encoders()[0], tmp_path / "student.safetensors")


def test_copies_keep_apart():
    """An EMA of a teacher is a deep copy; neither holds what the other saw."""
    encoder = xd.capture(toy_encoders()[0], ["body"]).eval()
    other = copy.deepcopy(encoder)
    nn.init.zeros_(other.body.weight)
    x = torch.randn(4, 6)
    assert not torch.equal(encoder(x).hidden["body"], other(x).hidden["body"])
    torch.testing.assert_close(other(x).hidden["body"], other.body.bias.expand(4, -1))


def test_two_captures_add_up():
    encoder = xd.capture(xd.capture(toy_encoders()[0], "body"), ["norm"])
    assert list(encoder(torch.randn(4, 6)).hidden) == ["body", "norm"]


def test_it_compiles_in_one_graph():
    encoder = xd.capture(toy_encoders()[0], ["norm"]).eval()
    x = torch.randn(4, 6)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: encoder(x), fullgraph=True, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(x).hidden, encoder(x).hidden)


class InPlace(ToyEncoder):
    def forward(self, x):
        embedding = torch.relu_(self.norm(self.body(x)))
        return Outputs(embedding)


class Tupled(ToyEncoder):
    """A recurrent module returns a tuple; the last one of a pass counts."""

    def __init__(self):
        super().__init__("cheap", 6)
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x):
        sequence, _ = self.rnn(self.body(x)[:, None])
        sequence, last = self.rnn(sequence)
        return Outputs(last[0])


def test_the_first_tensor_of_a_tuple_and_the_last_pass():
    encoder = xd.capture(Tupled(), ["rnn"])
    outputs = encoder(torch.randn(4, 6))
    torch.testing.assert_close(outputs.hidden["rnn"][:, 0], outputs.embedding)


class NoTensor(nn.Module):
    def forward(self, x):
        return {"x": x}


class Odd(ToyEncoder):
    """Its module `odd` is given to it by a test."""

    def __init__(self, odd: nn.Module):
        super().__init__("cheap", 6)
        self.odd = odd

    def forward(self, x):
        self.odd(x)
        return Outputs(self.body(x))


@pytest.mark.parametrize(
    "make, layers, message",
    [
        (lambda: InPlace("cheap", 6), ["norm"], "'norm' was changed in place"),
        (lambda: Odd(NoTensor()), ["odd"], "'odd' .NoTensor. returns dict, expected a tensor"),
        (lambda: Odd(nn.Flatten(0)), ["odd"], None),
        (lambda: Odd(nn.Unflatten(1, (6, 1))), ["odd"], None),
        (lambda: _plain(), ["0"], "expects an encoder that returns Outputs, but Sequential"),
    ],
)
def test_errors_of_a_pass(make, layers, message):
    encoder = xd.capture(make(), layers)
    if message is None:
        encoder(torch.randn(4, 6))
    else:
        with pytest.raises(ValueError, match=message):
            encoder(torch.randn(4, 6))


def _plain():
    return nn.Sequential(nn.Linear(6, 3))


class Halves(nn.Module):
    def forward(self, x):
        return x[:3]


def test_rows_that_are_no_multiple_of_the_batch():
    encoder = xd.capture(Odd(Halves()), ["odd"])
    with pytest.raises(ValueError, match="'odd' returned 3 rows for a batch of 4"):
        encoder(torch.randn(4, 6))


@pytest.mark.parametrize(
    "name, message",
    [
        ("layer9", "no module 'layer9' to capture; choose one of .*'network.layer2'"),
        ("conv1", "several modules of Timm match 'conv1': .*network.conv1"),
        ("", "no module ''"),
    ],
)
def test_names_that_lead_nowhere(name, message):
    encoder = xd.create_encoder("timm/resnet18")
    with pytest.raises(ValueError, match=message):
        xd.capture(encoder, [name])


def test_a_loss_on_captured_layers_through_a_distiller():
    """The example tells the shapes; training reaches the adapters and the student."""
    student, teacher = (xd.capture(one, ["norm"]) for one in toy_encoders(8, 5))
    batch = next(iter(xd.paired_loader(toy_data(), 10)))
    before = copy.deepcopy(student.state_dict())
    distiller = xd.Distiller(student, teacher, Adapted(), example=batch)
    torch.testing.assert_close(dict(student.state_dict()), dict(before))
    assert distiller.training and student.training
    distiller(batch).loss.backward()
    assert student.body.weight.grad.any()
    with pytest.raises(ValueError, match="holds no shapes; keep layers with xd.capture"):
        xd.Distiller(*toy_encoders(), Adapted())


class Adapted(xd.Loss):
    """Maps one side's channels to the other's."""

    name = "adapted"
    shared_space = False

    def bind(self, student, teacher, num_classes=None, num_samples=None):
        from xdistill.losses.parts.layers import channel_counts

        layers = [("norm", "norm")]
        ((ours, theirs),) = channel_counts(self.name, layers, student, teacher)
        self.map = nn.Linear(ours, theirs)
        return self

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return (self.map(student.hidden["norm"]) - teacher.hidden["norm"]).square().mean()
