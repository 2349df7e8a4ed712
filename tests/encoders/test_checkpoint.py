"""Weights on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from xdistill.encoders.checkpoint import load_weights, save_weights


def network(width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


@pytest.fixture
def saved(tmp_path):
    module = network()
    path = tmp_path / "run" / "weights.safetensors"
    save_weights(module, path)
    return module, path


def same(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


def test_round_trip(saved):
    module, path = saved
    other = network()
    assert not same(module, other)
    load_weights(other, path)
    assert same(module, other)


def test_torch_file(tmp_path):
    module, other = network(), network()
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    load_weights(other, tmp_path / "weights.pt")
    assert same(module, other)


def test_tied_and_transposed_tensors(tmp_path):
    module = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight
    module["a"].bias = nn.Parameter(torch.randn(6)[::2])
    save_weights(module, tmp_path / "weights.safetensors")
    other = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    load_weights(other, tmp_path / "weights.safetensors")
    assert same(module, other)


def test_loads_into_the_dtype_of_the_module(saved):
    module, path = saved
    other = network().double()
    load_weights(other, path)
    assert other[0].weight.dtype == torch.float64
    torch.testing.assert_close(other[0].weight.float(), module[0].weight)


def test_skipped_names_stay(tmp_path):
    module, other = network(3), network(3)
    kept = other[1].weight.detach().clone()
    module[1].weight.data.fill_(7)
    save_weights(module, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors", skip=("1.",))
    assert torch.equal(other[0].weight, module[0].weight)
    assert torch.equal(other[1].weight, kept)


def test_nothing_is_left_beside_the_file(saved):
    _, path = saved
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    module, path = saved

    def fail(partial, content):
        with partial.open("wb") as file:
            file.write(content[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(network(), path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    other = network()
    load_weights(other, path)
    assert same(module, other)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*absent\.safetensors"):
        load_weights(network(), tmp_path / "absent.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.95])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_truncated_file(tmp_path, suffix, keep):
    path = tmp_path / f"weights.{suffix}"
    module = network()
    if suffix == "pt":
        torch.save(module.state_dict(), path)
    else:
        save_weights(module, path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        load_weights(module, path)
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


class Payload:
    """What a pickle could hold beside tensors."""


def test_pickled_objects_are_refused(tmp_path):
    torch.save({"weight": Payload()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="could run code"):
        load_weights(network(), tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3, "state_dict": {}}])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="expected a state_dict"):
        load_weights(network(), tmp_path / "weights.pt")


def test_mismatches_are_listed_and_nothing_changes(tmp_path):
    other = nn.Sequential(nn.Linear(2, 4), nn.Identity(), nn.Linear(1, 1))
    save_weights(other, tmp_path / "weights.safetensors")
    module = network()
    before = module[0].weight.detach().clone()
    with pytest.raises(ValueError) as caught:
        load_weights(module, tmp_path / "weights.safetensors")
    message = str(caught.value)
    assert "does not fit Sequential" in message
    assert "5 missing (1.weight" in message
    assert "2 unexpected (2.bias, 2.weight)" in message or "2 unexpected (2.weight" in message
    assert "2 of another shape (0.weight has shape (4, 2), expected (3, 2)" in message
    assert torch.equal(before, module[0].weight)


def test_a_long_list_is_cut(tmp_path):
    save_weights(nn.Linear(1, 1), tmp_path / "weights.safetensors")
    deep = nn.Sequential(*[nn.Linear(1, 1) for _ in range(6)])
    with pytest.raises(ValueError, match=r"12 missing \(.* and 7 more\)"):
        load_weights(deep, tmp_path / "weights.safetensors")
