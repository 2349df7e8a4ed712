from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.losses.loops import gradcheck, rows64
from xdistill.losses.parts.layers import FeatureMap, channels_first
from xdistill.losses.parts.shared_axes import ChannelAdapter, align, on_axes, pool_to, shared_axes


def twin(x: np.ndarray, axes: str, shared: str, lengths: list[int]) -> np.ndarray:
    """Averages over every place of the given axes, in loops. `axes` is without "b c"."""
    letters = ["b", "c", *axes.split()]
    out = np.zeros([x.shape[0], x.shape[1], *lengths])
    for place in product(*(range(n) for n in lengths)):
        parts = dict(zip(shared.split(), zip(place, lengths, strict=True), strict=True))
        window: list[slice] = []
        for letter, length in zip(letters, x.shape, strict=True):
            if letter in parts:
                i, n = parts[letter]
                window.append(slice(i * length // n, math.ceil((i + 1) * length / n)))
            else:
                window.append(slice(None))
        part = x[tuple(window)]
        out[(slice(None), slice(None), *place)] = part.mean(axis=tuple(range(2, part.ndim)))
    return out


def check(student: torch.Tensor, s_axes: str, teacher: torch.Tensor, t_axes: str) -> None:
    """`align` does what the twin does; axes are those of tensors with channels first."""
    letters = s_axes.split(), t_axes.split()
    maps = [FeatureMap(x, tuple(own)) for x, own in zip((student, teacher), letters, strict=True)]
    found = align("at", *maps)
    shared = [letter for letter in letters[0] if letter in letters[1]]
    sizes = [dict(zip(one.axes, one.tensor.shape[2:], strict=True)) for one in maps]
    lengths = [min(size[letter] for size in sizes) for letter in shared]
    for one, x, axes in zip(found, (student, teacher), (s_axes, t_axes), strict=True):
        exact = torch.from_numpy(twin(x.numpy(), axes, " ".join(shared), lengths))
        torch.testing.assert_close(one, exact, rtol=1e-12, atol=1e-12)


def test_by_hand():
    # Heights and widths are averaged: (1+3)/2 and (5+7)/2; four samples become two.
    video = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 1, 2, 1, 2)
    signal = torch.tensor([[[0.0, 2.0, 4.0, 8.0]]])
    ours, theirs = align("at", channels_first(video), channels_first(signal))
    torch.testing.assert_close(ours, torch.tensor([[[2.0, 6.0]]]))
    torch.testing.assert_close(theirs, torch.tensor([[[1.0, 6.0]]]))


@pytest.mark.parametrize("length", [1, 3, 5, 8, 16])
def test_video_with_a_signal(length):
    check(rows64(2, 3, 5, 2, 4), "t h w", rows64(2, 6, length, seed=1), "t")
    check(rows64(2, 6, length, seed=1), "t", rows64(2, 3, 5, 2, 4), "t h w")


def test_maps_that_are_not_square():
    """Each side may be the longer one along another axis."""
    check(rows64(2, 3, 7, 4), "h w", rows64(2, 5, 3, 9, seed=1), "h w")


def test_permuted_axes():
    student, teacher = rows64(2, 3, 6, 4), rows64(2, 5, 4, 9, seed=1)
    check(student, "t f", teacher, "f t")
    ours, theirs = align(
        "at", channels_first(student, "b c t f"), channels_first(teacher, "b c f t")
    )
    assert ours.shape == (2, 3, 6, 4)  # the student's order
    assert theirs.shape == (2, 5, 6, 4)
    same, turned = align(
        "at", channels_first(student, "b c t f"), channels_first(student.mT, "b c f t")
    )
    torch.testing.assert_close(same, turned, rtol=0, atol=0)


def test_tokens():
    student, teacher = rows64(2, 5, 3), rows64(2, 7, 4, seed=1)
    ours, theirs = align("at", channels_first(student, "b n c"), channels_first(teacher, "b n c"))
    assert (ours.shape, theirs.shape) == ((2, 3, 5), (2, 4, 5))
    torch.testing.assert_close(ours, student.mT, rtol=0, atol=0)


def test_three_shared_axes():
    check(rows64(2, 3, 4, 5, 2), "t h w", rows64(2, 2, 3, 2, 6, seed=1), "t h w")
    check(rows64(2, 3, 4, 5, 2), "t h w", rows64(2, 2, 3, 2, 6, seed=1), "w t h")


def test_an_axis_of_length_one():
    check(rows64(2, 3, 1), "t", rows64(2, 4, 6, seed=1), "t")


def test_equal_maps_are_left_as_they_are():
    x = rows64(2, 3, 4, 5)
    ours, theirs = align("at", channels_first(x), channels_first(x))
    assert ours.data_ptr() == theirs.data_ptr() == x.data_ptr()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_shapes(data):
    """Any letters in any order on either side, as long as one is common."""
    common = data.draw(st.lists(st.sampled_from("tfh"), min_size=1, max_size=3, unique=True))
    sides = []
    for own in "wn":
        extra = [own] if data.draw(st.booleans()) else []
        axes = data.draw(st.permutations(common + extra))
        shape = [data.draw(st.integers(1, 5)) for _ in axes]
        channels = data.draw(st.integers(1, 3))
        sides += [rows64(2, channels, *shape, seed=data.draw(st.integers(0, 9))), " ".join(axes)]
    check(*sides)


def test_aligning_keeps_the_mean_where_lengths_divide():
    x = rows64(2, 3, 6, 4)
    pooled = pool_to(x, [3, 2])
    torch.testing.assert_close(pooled.mean((2, 3)), x.mean((2, 3)))


def test_gradcheck():
    def total(student, teacher):
        ours, theirs = align("at", channels_first(student), channels_first(teacher))
        return ours.square().sum() + theirs.exp().sum()

    gradcheck(total, rows64(2, 2, 3, 2, 2), rows64(2, 2, 5, seed=1))


@pytest.mark.parametrize(
    ("student", "teacher", "said"),
    [
        ((2, 3, 4), (2, 3, 4, 5), r"\[b c t\] \[2, 3, 4\] and the teacher's \[b c h w\]"),
        ((2, 3), (2, 4), r"\[b c\] \[2, 3\] and the teacher's \[b c\] \[2, 4\]"),
        ((2, 3, 4), (2, 4), r"\[b c t\] \[2, 3, 4\] and the teacher's \[b c\] \[2, 4\]"),
    ],
)
def test_maps_without_a_shared_axis_are_refused(student, teacher, said):
    maps = channels_first(torch.zeros(student)), channels_first(torch.zeros(teacher))
    with pytest.raises(ValueError, match=rf"at: .*{said}.* share no axis .*pair other layers"):
        align("at", *maps)


def test_more_than_three_shared_axes_are_refused():
    x = channels_first(torch.zeros(1, 2, 2, 2, 2, 2), "b c v t h w")
    with pytest.raises(ValueError, match=r"share more than three axes \(v t h w\)"):
        shared_axes("at", x, x)


def test_on_axes_orders_and_averages():
    x = rows64(2, 3, 4, 5, 6)
    found = on_axes(channels_first(x), ("w", "t"))
    torch.testing.assert_close(found, x.mean(3).mT)
    torch.testing.assert_close(on_axes(channels_first(x), ()), x.mean((2, 3, 4)))


@pytest.mark.parametrize("shape", [(), (4,), (4, 5), (2, 3, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_adapter_is_a_convolution_of_kernel_one(shape, bias):
    adapter = ChannelAdapter(3, 2, bias).double()
    x = rows64(2, 3, *shape)
    exact = torch.einsum("ec,bc...->be...", adapter.map.weight, x)
    if bias:
        exact = exact + adapter.map.bias.view(-1, *[1] * len(shape))
    torch.testing.assert_close(adapter(x), exact)
    assert (adapter.map.bias is not None) == bias
