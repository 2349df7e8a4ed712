from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from xdistill.data import teacher_pass
from xdistill.data.cache import cache_teacher
from xdistill.data.collate import collate
from xdistill.data.paired import PairedDataset
from xdistill.data.store import digest, stored_tensors
from xdistill.types import Outputs

ROWS = 11


class Teacher(nn.Module):
    """Every kind of state that the key must cover, and every kind of output."""

    modality = "eeg"
    dim = 4

    def __init__(self, scale: float = 1.0, logits: bool = True):
        super().__init__()
        self.body = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3) if logits else None
        self.register_buffer("window", torch.ones(4), persistent=False)
        self.scale = scale

    def __repr__(self):
        return "Teacher()"  # says nothing, as a plugin's may

    def forward(self, x):
        embedding = self.scale * self.dropout(self.norm(self.body(x))) * self.window
        logits = None if self.head is None else self.head(embedding)
        hidden = {"body": embedding.half(), "map": embedding[:, :, None, None].expand(-1, 4, 2, 2)}
        return Outputs(embedding, logits, hidden)


def teacher(**options) -> Teacher:
    torch.manual_seed(1)
    made = Teacher(**options)
    made.norm.running_mean.uniform_()
    return made


def pairs(**changes) -> PairedDataset:
    generator = torch.Generator().manual_seed(2)
    options = {
        "inputs": {
            "eeg": torch.randn(ROWS, 6, generator=generator),
            "video": torch.randn(ROWS, 2, generator=generator),
        },
        "target": [0] * ROWS,
        "classes": ["w", "n", "r"],
        "valid": {"eeg": [row not in (0, 7) for row in range(ROWS)]},
    }
    return PairedDataset(**{**options, **changes})


@contextmanager
def calls_of(module: nn.Module):
    """Counts the batches that go through a module, without a hook on it, which the key covers."""
    batches: list[int] = []

    def count(called, inputs, _):
        if called is module:
            batches.append(len(inputs[0]))

    handle = register_module_forward_hook(count)
    try:
        yield batches
    finally:
        handle.remove()


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_it_equals_running_the_teacher(tmp_path):
    dataset, model = pairs(), teacher().eval()
    hidden = ("body", "map")
    cached = cache_teacher(dataset, model, "eeg", root=tmp_path, batch_size=4, hidden=hidden)
    batch = collate([cached[row] for row in range(ROWS)])
    rows = dataset.valid["eeg"]
    with torch.no_grad():
        direct = model(dataset.inputs["eeg"][rows])
    got = batch.cached["eeg"]
    torch.testing.assert_close(got.embedding[rows], direct.embedding)
    torch.testing.assert_close(got.logits[rows], direct.logits)
    assert set(got.hidden) == {"body", "map"}
    for name in got.hidden:
        assert got.hidden[name].dtype == direct.hidden[name].dtype
        assert got.hidden[name].shape[1:] == direct.hidden[name].shape[1:]
        torch.testing.assert_close(got.hidden[name][rows], direct.hidden[name], atol=1e-3, rtol=0)
    assert not got.embedding[~rows].any() and not got.logits[~rows].any()
    assert set(batch.inputs) == {"video"}
    assert torch.equal(batch.valid["eeg"], rows)


def test_the_second_time_nothing_runs_and_the_bits_are_the_same(tmp_path):
    model = teacher()
    with calls_of(model) as batches:
        first = cache_teacher(pairs(), model, "eeg", root=tmp_path, batch_size=4)
        assert batches == [4, 4, 4, 1, 1]  # the first and the last one twice, to see noise
        second = cache_teacher(pairs(), model, "eeg", root=tmp_path, batch_size=4)
        assert len(batches) == 5
    one, two = first.cached["eeg"], second.cached["eeg"]
    assert torch.equal(one.embedding, two.embedding) and torch.equal(one.logits, two.logits)
    assert all(torch.equal(one.hidden[name], two.hidden[name]) for name in one.hidden)
    assert len(files(tmp_path)) == 1


def test_a_teacher_without_classifier(tmp_path):
    cached = cache_teacher(pairs(), teacher(logits=False), "eeg", root=tmp_path)
    assert cached.cached["eeg"].logits is None


def test_subsets_keep_their_rows(tmp_path):
    cached = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    subset = cached.subset([9, 3])
    assert torch.equal(subset[0].cached["eeg"].embedding, cached[9].cached["eeg"].embedding)


def _weights(model, dataset):
    with torch.no_grad():
        model.body.weight[0, 0] += 1e-6
    return model, dataset


def _running_mean(model, dataset):
    model.norm.running_mean[0] += 1e-6
    return model, dataset


def _hidden_buffer(model, dataset):
    model.window[0] = 2
    return model, dataset


def _setting(model, dataset):
    model.scale = 1.5
    return model, dataset


def _dtype(model, dataset):
    return model.double(), dataset.replace(transforms={"eeg": torch.Tensor.double})


def _data(model, dataset):
    column = dataset.inputs["eeg"].clone()
    column[10, 5] += 1e-6
    return model, dataset.replace(inputs={**dataset.inputs, "eeg": column})


def _order(model, dataset):
    column = dataset.inputs["eeg"].flip(0)
    return model, dataset.replace(inputs={**dataset.inputs, "eeg": column})


def _transform(model, dataset):
    return model, dataset.replace(transforms={"eeg": lambda x: 2 * x})


def _valid(model, dataset):
    return model, dataset.replace(valid={})


def _fewer(model, dataset):
    return model, dataset.subset(range(ROWS - 1))


@pytest.mark.parametrize(
    "change",
    [_weights, _running_mean, _hidden_buffer, _setting, _dtype, _data, _order, _transform, _valid,
     _fewer],
)  # fmt: skip
def test_whatever_changes_the_outputs_changes_the_key(tmp_path, change):
    cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    model, dataset = change(teacher(), pairs())
    with calls_of(model) as batches:
        cached = cache_teacher(dataset, model, "eeg", root=tmp_path)
    assert batches, "the old outputs were taken for the new ones"
    assert len(cached.cached["eeg"].embedding) == len(dataset)
    assert len(files(tmp_path)) == 2


def test_what_does_not_change_the_outputs_keeps_the_key(tmp_path):
    cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    model = teacher().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    dataset = pairs(
        target=[1] * ROWS,
        group=[4] * ROWS,
        inputs={**pairs().inputs, "video": torch.zeros(ROWS, 9)},
    )
    with calls_of(model) as batches:
        cache_teacher(dataset, model, "eeg", root=tmp_path, batch_size=3)
    assert batches == []


def test_the_teacher_is_left_as_it_was(tmp_path):
    model = teacher().train()
    model.norm.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    cache_teacher(pairs(), model, "eeg", root=tmp_path)
    assert model.training and model.dropout.training and not model.norm.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())

    def fail(*_):
        raise RuntimeError("broken teacher")

    model.body.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        cache_teacher(pairs(), model, "eeg", root=tmp_path / "other")
    assert model.training and not model.norm.training


def test_autocast_outside_does_not_change_what_is_kept(tmp_path):
    plain = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path / "a")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path / "b")
    assert torch.equal(plain.cached["eeg"].embedding, other.cached["eeg"].embedding)


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDISTILL_CACHE", str(tmp_path))
    cache_teacher(pairs(), teacher(), "eeg")
    (name,) = files(tmp_path / "teachers")
    assert name.startswith("eeg-") and name.endswith(".safetensors")


def test_a_random_transform_is_refused(tmp_path):
    dataset = pairs(transforms={"eeg": lambda x: x + 0.01 * torch.randn(6)})
    with pytest.raises(ValueError, match=r"remove the augmentation from transforms\['eeg'\]"):
        cache_teacher(dataset, teacher(), "eeg", root=tmp_path)


def test_a_transform_that_is_rarely_random_is_refused(tmp_path, monkeypatch):
    # The rows that are read twice do not show it; the second pass over the rows does.
    calls = iter(range(1000))

    def transform(x):
        return x + (next(calls) == 2 * teacher_pass.TWICE_READ_ROWS + 12)

    dataset = pairs(transforms={"eeg": transform}, valid={})
    monkeypatch.setattr(teacher_pass, "TWICE_READ_ROWS", 2)
    with pytest.raises(ValueError, match="random"):
        cache_teacher(dataset, teacher(), "eeg", root=tmp_path)
    assert not tmp_path.exists() or files(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "foreign"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    first = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    expected = first.cached["eeg"].embedding.clone()
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content = {
        "truncate": content[: len(content) // 2],
        "empty": b"",
        "flip": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        "foreign": b"not a safetensors file at all",
    }[damage]
    path.unlink()  # the first result is mapped from the old file
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged .*it is written again"):
        again = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    assert torch.equal(again.cached["eeg"].embedding, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)


@pytest.mark.parametrize(
    ("dataset", "model", "message"),
    [
        (lambda: pairs().replace(inputs={"video": torch.zeros(ROWS, 2)}), teacher, "the dataset"),
        (lambda: pairs(valid={"eeg": [False] * ROWS}), teacher, "no row of the dataset has eeg"),
        (
            lambda: pairs(
                inputs={"eeg": [torch.zeros(6 + row % 2) for row in range(ROWS)]}, valid={}
            ),
            teacher,
            r"shapes \[\(6,\), \(7,\)\]",
        ),
        (pairs, lambda: nn.Linear(6, 4), "returns xdistill.Outputs, got Tensor"),
        (lambda: pairs(inputs={"eeg": torch.full((ROWS, 6), torch.nan)}), teacher, "NaN.*row 1;"),
    ],
)
def test_clear_errors(tmp_path, dataset, model, message):
    with pytest.raises(ValueError, match=message):
        cache_teacher(dataset(), model(), "eeg", root=tmp_path)


def test_outputs_without_a_batch_axis(tmp_path):
    class Pooled(nn.Module):
        def forward(self, x):
            return Outputs(x, None, {"mean": x.mean(dim=0)})

    with pytest.raises(ValueError, match=r"hidden\.mean has 6 rows for a batch of 9"):
        cache_teacher(pairs(), Pooled(), "eeg", root=tmp_path, hidden=["mean"])


def test_hidden_tensors_are_kept_when_they_are_asked_for(tmp_path):
    plain = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    assert not plain.cached["eeg"].hidden
    asked = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path, hidden=["map"])
    assert set(asked.cached["eeg"].hidden) == {"map"}
    with pytest.raises(ValueError, match=r"no hidden tensor \['layer9'\].*\['body', 'map'\]"):
        cache_teacher(pairs(), teacher(), "eeg", root=tmp_path, hidden=["layer9"])


KILLED = """
import sys, time
import safetensors.torch
from pathlib import Path
from xdistill.data.store import stored_tensors
import torch

real = safetensors.torch.save_file
def slow(tensors, path, metadata=None):
    real(tensors, path, metadata=metadata)
    half = Path(path).read_bytes()[: Path(path).stat().st_size // 2]
    Path(path).write_bytes(half)
    print("writing", flush=True)
    time.sleep(60)
safetensors.torch.save_file = slow
stored_tensors(Path(sys.argv[1]), lambda: {"x": torch.arange(1000.0)})
"""


def test_a_kill_while_writing_leaves_it_usable(tmp_path):
    path = tmp_path / "file.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".partial-")

    made = stored_tensors(path, lambda: {"x": torch.arange(1000.0)})
    assert torch.equal(made["x"], torch.arange(1000.0))
    assert left.exists(), "another process might still be writing it"

    path.unlink()
    old = time.time() - 7200
    os.utime(left, (old, old))
    stored_tensors(path, lambda: {"x": torch.arange(1000.0)})
    assert files(tmp_path) == ["file.safetensors"]


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    shared = torch.zeros(4)  # safetensors refuses tensors that share memory
    with pytest.raises(RuntimeError, match="share memory"):
        stored_tensors(tmp_path / "file", lambda: {"a": shared, "b": shared})
    assert files(tmp_path) == []


def test_a_stored_file_has_ordinary_permissions(tmp_path):
    stored_tensors(tmp_path / "file", lambda: {"x": torch.zeros(3)})
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_dtypes_come_back(tmp_path, dtype):
    x = torch.tensor([[0, 1], [2, 3]]).to(dtype).t()  # not contiguous
    made = stored_tensors(tmp_path / "file", lambda: {"x": x})["x"]
    again = stored_tensors(tmp_path / "file", lambda: {})["x"]
    assert made.dtype == again.dtype == dtype
    assert torch.equal(made, x) and torch.equal(again, x)


def test_a_digest_keeps_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")
