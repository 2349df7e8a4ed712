"""What each modality accepts, and what it says otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xdistill.modalities import Modality, get_modality
from xdistill.registry import list_modalities, modalities

AXES = {
    "video": "b c t h w",
    "depth": "b c t h w",
    "image": "b c h w",
    "depth_image": "b c h w",
    "spectrogram": "b c h w",
    "eeg": "b c t",
    "audio": "b c t",
    "inertial": "b c t",
    "body": "b c t",
    "video_body": "b c n",
    "skeleton": "b c t j",
    "tabular": "b c",
}
OWN = [name for name in list_modalities() if modalities.provider(name).startswith("xdistill.")]
any_modality = st.sampled_from(sorted(AXES)).map(get_modality)
floats = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])


def rank(modality: Modality) -> int:
    return len(modality.axes.split())


def test_the_registered_ones():
    assert sorted(OWN) == sorted(AXES)
    assert {name: get_modality(name).axes for name in AXES} == AXES
    assert all(get_modality(name).name == name for name in AXES)


@given(any_modality, st.data(), floats)
def test_accepts_its_own_rank(modality, data, dtype):
    size = st.integers(1, 4)
    shape = data.draw(st.tuples(*[size] * rank(modality)))
    modality.check(torch.zeros(shape, dtype=dtype), channels=shape[1])


@given(any_modality, st.integers(0, 7))
def test_another_rank_is_told(modality, ndim):
    x = torch.zeros([2] * ndim)
    if ndim == rank(modality):
        modality.check(x)
        return
    with pytest.raises(ValueError) as caught:
        modality.check(x)
    message = str(caught.value)
    assert message.startswith(f"{modality.name}: expected {rank(modality)} axes [{modality.axes}]")
    assert f"got {ndim} (shape {tuple(x.shape)})" in message
    if ndim == rank(modality) - 1 and rank(modality) > 2:
        assert "add the batch axis with x[None] or the channel axis with x[:, None]" in message
    else:
        assert "reshape it" in message


@given(any_modality, st.integers(1, 6), st.integers(1, 6))
def test_another_channel_count_is_told(modality, channels, wanted):
    x = torch.zeros([2, channels] + [3] * (rank(modality) - 2))
    if channels == wanted:
        modality.check(x, channels=wanted)
        return
    with pytest.raises(ValueError, match=rf"expected {wanted} channel\(s\) on axis 1.*{channels}"):
        modality.check(x, channels=wanted)


@given(any_modality, st.data())
def test_an_empty_axis_is_told(modality, data):
    shape = [2] * rank(modality)
    shape[data.draw(st.integers(0, len(shape) - 1))] = 0
    with pytest.raises(ValueError, match=f"{modality.name}: the batch is empty"):
        modality.check(torch.zeros(shape))


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_another_dtype_is_told(name, dtype):
    modality = get_modality(name)
    with pytest.raises(TypeError, match=rf"{name}: expected a floating-point.*got {dtype}"):
        modality.check(torch.zeros([2] * rank(modality), dtype=dtype))


@pytest.mark.parametrize("name", AXES)
def test_an_array_is_no_tensor(name):
    with pytest.raises(TypeError, match=rf"{name}: .*got ndarray; convert it with torch.as_tensor"):
        get_modality(name).check(np.zeros((2, 2)))  # type: ignore[arg-type]


@given(
    any_modality, st.sets(st.integers(0, 4), min_size=1), st.sampled_from(["nan", "inf", "-inf"])
)
def test_values_that_are_not_finite_are_told(modality, rows, value):
    x = torch.zeros([5] + [2] * (rank(modality) - 1))
    x.view(5, -1)[sorted(rows), -1] = float(value)
    with pytest.raises(ValueError, match=rf"in {len(rows)} of 5 rows \(first: row {min(rows)}\)"):
        modality.check(x)
    modality.check(x, finite=False)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"unknown modality 'vide'; did you mean 'video'"):
        get_modality("vide")
