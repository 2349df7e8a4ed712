"""Weights are what was meant: damage is noticed, wrappers are taken off, NaN is refused."""

from __future__ import annotations

import random
import resource

import pytest
import torch
from torch import nn

from xdistill.encoders.checkpoint import load_weights, save_weights

FLIPS = 150


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(5, 7)
        self.norm = nn.BatchNorm1d(7)
        self.register_buffer("mask", torch.zeros(3))

    def forward(self, x):
        return self.norm(self.body(x))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict, two: dict) -> bool:
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_flipped_bit_never_changes_what_is_loaded(tmp_path, name):
    module, path = Net(), tmp_path / name
    if path.suffix == ".pt":
        torch.save(module.state_dict(), path)
    else:
        save_weights(module, path)
    right, whole = state(module), path.read_bytes()
    draw, noticed = random.Random(0), 0
    for _ in range(FLIPS):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        other = Net()
        before = state(other)
        try:
            load_weights(other, path, checked=True)
        except ValueError as error:
            assert str(path) in str(error)
            assert same(state(other), before)
            noticed += 1
        else:
            assert same(state(other), right), f"bit {bit} of byte {at} changed the weights"
    # Of a zip a third is padding and dates; of safetensors every byte counts.
    assert noticed == FLIPS if path.suffix == ".safetensors" else noticed > FLIPS / 3


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, "inside"])
def test_wrappers_are_taken_off_on_saving_and_on_loading(tmp_path, wrap):
    def wrapped(module):
        if wrap == "inside":
            module.body = torch.compile(module.body)
            return module
        return wrap(module)

    module, path = Net(), tmp_path / "weights.safetensors"
    right = state(module)
    save_weights(wrapped(module), path)
    other = Net()
    load_weights(other, path)
    assert same(state(other), right)
    target = Net()
    load_weights(wrapped(target), path)
    assert torch.equal(target.norm.weight, right["norm.weight"])
    assert torch.equal(next(target.body.parameters()), right["body.weight"])


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "module._orig_mod."])
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_state_dicts_of_others(tmp_path, prefix, key):
    module, path = Net(), tmp_path / "weights.pt"
    tensors = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    torch.save(tensors if key is None else {"epoch": 3, key: tensors}, path)
    for given in (path, str(path)):
        other = Net()
        load_weights(other, given)
        assert same(state(other), state(module))


def test_a_module_whose_own_names_begin_with_module(tmp_path):
    module, other = nn.Sequential(), nn.Sequential()
    for one in (module, other):
        one.add_module("module", nn.Linear(2, 2))
    save_weights(module, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert same(state(module), state(other))


def spoiled(name: str, tensor: torch.Tensor) -> nn.Module:
    module = Net()
    owner, _, leaf = name.rpartition(".")
    inside = module.get_submodule(owner)
    if leaf in inside._parameters:
        setattr(inside, leaf, nn.Parameter(tensor, requires_grad=False))
    else:
        inside.register_buffer(leaf, tensor)
    return module


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("body.bias", torch.full((7,), torch.nan), "body.bias has NaN"),
        ("norm.running_var", torch.full((7,), torch.nan), "norm.running_var has NaN"),
        ("body.bias", torch.full((7,), torch.inf), "body.bias is infinite"),
        ("body.bias", torch.ones(7, dtype=torch.complex64), "is torch.complex64"),
        ("body.bias", torch.ones(7, dtype=torch.int8), "is torch.int8"),
    ],
)
def test_unusable_weights_are_refused_on_save_and_on_load(tmp_path, name, tensor, message):
    module = spoiled(name, tensor)
    with pytest.raises(ValueError, match=f"Net is not saved: .*{message}"):
        save_weights(module, tmp_path / "weights.safetensors")
    assert not list(tmp_path.iterdir())
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    target = Net()
    before = state(target)
    with pytest.raises(ValueError, match=rf"weights.pt is not loaded: .*{message}"):
        load_weights(target, tmp_path / "weights.pt")
    assert same(state(target), before)


def test_a_buffer_may_be_infinite_and_floats_may_be_narrowed_where_they_fit(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(spoiled("mask", torch.full((3,), -torch.inf)), path)
    load_weights(Net(), path)
    save_weights(spoiled("body.bias", torch.full((7,), 1e6)), path)
    with pytest.raises(ValueError, match="body.bias is too large for torch.float16"):
        load_weights(Net().half(), path)


def test_what_is_no_tensor_and_what_has_no_shape_is_refused(tmp_path):
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"step": 3}

    with pytest.raises(ValueError, match="_extra_state has the type dict"):
        save_weights(Extra(2, 2), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="weight has no shape yet"):
        save_weights(nn.LazyLinear(2), tmp_path / "weights.safetensors")


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(Net(), path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(OSError, match=r"weights\.safetensors cannot be written \(File"):
            save_weights(Net(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
