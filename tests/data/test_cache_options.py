"""What a teacher cache may keep, and what it refuses."""

from __future__ import annotations

import resource
from functools import partial

import pytest
import torch
from torch import nn

from tests.data.test_cache import ROWS, calls_of, files, pairs, teacher
from xdistill.data.cache import cache_teacher
from xdistill.types import Outputs


class Wide(nn.Module):
    """A teacher of 50 classes."""

    def __init__(self, gain: float = 3.0):
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(6, 50)
        self.gain = gain

    def forward(self, x):
        return Outputs(x, self.gain * self.head(x))


class Noisy(Wide):
    def forward(self, x):
        return Outputs(x, self.head(x) + 1e-6 * torch.randn(1))


def test_few_of_many_logits_keep_their_probabilities(tmp_path):
    whole = cache_teacher(pairs(), Wide(), "eeg", root=tmp_path / "a").cached["eeg"].logits
    few = cache_teacher(pairs(), Wide(), "eeg", root=tmp_path / "b", top_k=4).cached["eeg"].logits
    assert few.shape == whole.shape and few.dtype == whole.dtype
    rows = pairs().valid["eeg"]
    top = whole[rows].topk(4, dim=1).indices
    want, got = whole[rows].softmax(1), few[rows].softmax(1)
    torch.testing.assert_close(got.gather(1, top), want.gather(1, top))
    rest = got.scatter(1, top, torch.nan)
    assert torch.allclose(rest.nan_to_num(torch.inf).min(1)[0], rest.nan_to_num(0).max(1)[0])
    torch.testing.assert_close(few.argmax(1), whole.argmax(1))
    assert not few[~rows].any()
    (small,), (large,) = (list((tmp_path / name).iterdir()) for name in "ba")
    assert small.stat().st_size < large.stat().st_size
    all_of_them = cache_teacher(pairs(), Wide(), "eeg", root=tmp_path / "c", top_k=99)
    assert torch.equal(all_of_them.cached["eeg"].logits, whole)


def test_half_precision_halves_the_file(tmp_path):
    cache = partial(cache_teacher, pairs(), Wide(), "eeg")
    exact = cache(root=tmp_path / "a").cached["eeg"]
    half = cache(root=tmp_path / "b", dtype=torch.float16).cached["eeg"]
    assert half.logits.dtype == torch.float32
    assert torch.equal(half.logits, exact.logits.half().float())
    both = cache(root=tmp_path / "b", dtype=torch.float16, top_k=3).cached["eeg"]
    rows = pairs().valid["eeg"]
    assert torch.equal(both.logits[rows].max(1)[0], half.logits[rows].max(1)[0])
    with pytest.raises(ValueError, match="logits has values up to .*, which torch.float16 cannot"):
        cache_teacher(pairs(), Wide(1e6), "eeg", root=tmp_path, dtype=torch.float16)


def test_files_of_some_rows_each(tmp_path):
    whole = cache_teacher(pairs(), teacher(), "eeg", root=tmp_path / "a", hidden=["map"])
    options = {"root": tmp_path / "b", "hidden": ["map"], "rows_per_file": 4}
    parts = cache_teacher(pairs(), teacher(), "eeg", **options)
    for one, two in zip(*(tensors(cached) for cached in (whole, parts)), strict=True):
        torch.testing.assert_close(one, two)
    assert len(files(tmp_path / "b")) == 3
    (tmp_path / "b" / files(tmp_path / "b")[0]).unlink()
    model = teacher()
    with calls_of(model) as batches:
        again = cache_teacher(pairs(), model, "eeg", **options)
    assert len(batches) == 2 and max(batches) <= 4  # one file, its only batch twice
    for one, two in zip(*(tensors(cached) for cached in (whole, again)), strict=True):
        torch.testing.assert_close(one, two)


def test_a_file_without_any_row_of_the_modality(tmp_path):
    there = pairs(valid={"eeg": [row > 4 for row in range(ROWS)]})
    whole = cache_teacher(there, teacher(), "eeg", root=tmp_path / "a")
    parts = cache_teacher(there, teacher(), "eeg", root=tmp_path / "b", rows_per_file=3)
    for one, two in zip(*(tensors(cached) for cached in (whole, parts)), strict=True):
        torch.testing.assert_close(one, two)
    assert len(files(tmp_path / "b")) == 3


def tensors(dataset) -> list[torch.Tensor]:
    outputs = dataset.cached["eeg"]
    return [outputs.embedding, outputs.logits, *outputs.hidden.values()]


def test_several_augmented_views(tmp_path):
    noisy = pairs(transforms={"eeg": lambda x: x + torch.randn(6)})
    model, before = teacher(), torch.get_rng_state()
    views = [cache_teacher(noisy, model, "eeg", root=tmp_path, view=one) for one in (0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    one, two = (view.cached["eeg"].embedding for view in views)
    rows = pairs().valid["eeg"]
    assert not torch.isclose(one[rows], two[rows]).all(1).any()
    model = teacher()
    with calls_of(model) as batches:
        again = cache_teacher(noisy, model, "eeg", root=tmp_path, view=1)
    assert not batches and torch.equal(again.cached["eeg"].embedding, two)


def test_inputs_in_float64(tmp_path):
    dataset = pairs()
    double = dataset.replace(inputs={**dataset.inputs, "eeg": dataset.inputs["eeg"].double()})
    exact = cache_teacher(dataset, teacher(), "eeg", root=tmp_path).cached["eeg"]
    got = cache_teacher(double, teacher(), "eeg", root=tmp_path).cached["eeg"]
    assert torch.equal(got.embedding, exact.embedding)
    whole = cache_teacher(double, teacher().double(), "eeg", root=tmp_path).cached["eeg"]
    assert whole.embedding.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"rows_per_file": -3}, "rows_per_file must be at least 1, got -3"),
        ({"dtype": torch.int8}, "dtype must be a floating-point one"),
    ],
)
def test_options_out_of_range(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        cache_teacher(pairs(), teacher(), "eeg", root=tmp_path, **options)


def test_noise_in_forward_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two passes of the eeg teacher .* in its logits, so its"):
        cache_teacher(pairs(), Noisy(), "eeg", root=tmp_path)
    assert files(tmp_path) == []


def test_a_modality_whose_name_leads_out_of_the_root_is_refused(tmp_path):
    column = pairs().inputs["eeg"]
    dataset = pairs(inputs={"../esc": column}, valid={})
    with pytest.raises(ValueError, match=r"the modality '\.\./esc' is to be part of a path"):
        cache_teacher(dataset, teacher(), "../esc", root=tmp_path / "root")
    assert files(tmp_path) == []


def test_a_full_disk_names_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(OSError, match=r"eeg-\w+\.safetensors cannot be written"):
            cache_teacher(pairs(), teacher(), "eeg", root=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == []
