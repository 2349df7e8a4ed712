from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xdistill.losses.parts.layers import (
    LayerPair,
    channel_counts,
    channels_first,
    hidden_maps,
    hidden_shapes,
    layer_pairs,
)
from xdistill.types import Outputs, Spec


def outputs(rows: int = 2, **shapes: tuple[int, ...]) -> Outputs:
    hidden = {name: torch.randn(rows, *shape) for name, shape in shapes.items()}
    return Outputs(torch.zeros(rows, 4), hidden=hidden)


def names(pairs: list[LayerPair]) -> list[tuple[str, str]]:
    return [(pair.student, pair.teacher) for pair in pairs]


def test_none_pairs_all_layers_in_their_order():
    pairs = layer_pairs("at", None, ["z", "a"], ["one", "two"])
    assert pairs == [LayerPair("z", "one"), LayerPair("a", "two")]


def test_pairs_by_name_by_tuple_and_by_layer_pair():
    asked = ["b", ("a", "c"), LayerPair("a", "b", "b n c", "b c t")]
    pairs = layer_pairs("at", asked, ["a", "b"], ["b", "c"])
    assert names(pairs) == [("b", "b"), ("a", "c"), ("a", "b")]
    assert (pairs[2].student_axes, pairs[2].teacher_axes) == ("b n c", "b c t")
    assert (pairs[1].student_axes, pairs[1].teacher_axes) == (None, None)


def test_names_may_come_from_any_iterable():
    assert names(layer_pairs("at", ["a"], iter("ab"), {"a": 1})) == [("a", "a")]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_no_hidden_layers(role):
    held = {"student": ["a"], "teacher": ["a"], role: []}
    with pytest.raises(ValueError, match=f"at compares hidden layers, but the {role}'s .*capture"):
        layer_pairs("at", None, **held)
    with pytest.raises(ValueError, match=rf"at compares hidden layers \['a'\] of the {role}"):
        layer_pairs("at", ["a"], **held)


def test_unequal_numbers_of_layers():
    with pytest.raises(ValueError, match=r"student has \['a'\] and the teacher \['a', 'b'\]; name"):
        layer_pairs("at", None, ["a"], ["a", "b"])


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_layer_that_is_not_there(role):
    held = {"student": ["a", "b"], "teacher": ["a", "b"], role: ["a"]}
    match = rf"\['b'\] of the {role}, whose outputs hold \['a'\]; .*capture\(encoder, \['b'\]\)"
    with pytest.raises(ValueError, match=match):
        layer_pairs("at", ["a", "b"], **held)


@pytest.mark.parametrize("layers", [[], (), "early", ""])
def test_layers_that_are_no_list_of_pairs(layers):
    """A loss over no pair is 0 for ever; a string would be read letter by letter."""
    with pytest.raises(ValueError, match="expected a list of at least one hidden layer"):
        layer_pairs("at", layers, ["early"], ["early"])


@pytest.mark.parametrize("one", [("a",), ("a", "b", "c"), ()])
def test_a_tuple_that_is_no_pair(one):
    with pytest.raises(ValueError, match="is not a pair of layers; expected"):
        layer_pairs("at", [one], ["a"], ["b"])


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 3), ""),
        ((2, 3, 4), "t"),
        ((2, 3, 4, 5), "h w"),
        ((2, 3, 4, 5, 6), "t h w"),
    ],
)
def test_axes_are_read_by_their_number(shape, axes):
    x = torch.randn(shape)
    found = channels_first(x)
    assert found.axes == tuple(axes.split())
    torch.testing.assert_close(found.tensor, x, rtol=0, atol=0)


def test_tokens_and_spectrograms():
    tokens, spectrogram = torch.randn(2, 5, 3), torch.randn(2, 3, 7, 4)
    found = channels_first(tokens, "b n c")
    assert found.axes == ("n",)
    torch.testing.assert_close(found.tensor, tokens.transpose(1, 2), rtol=0, atol=0)
    found = channels_first(spectrogram, "b c f t")
    assert found.axes == ("f", "t")
    torch.testing.assert_close(found.tensor, spectrogram, rtol=0, atol=0)


def test_names_of_axes_may_be_words_and_six_axes_need_them():
    x = torch.randn(2, 1, 3, 4, 5, 6)
    assert channels_first(x, "b view c time h w").axes == ("view", "time", "h", "w")
    with pytest.raises(ValueError, match=r"late has 6 axes, expected 2 to 5; name them"):
        channels_first(x, name="late")
    with pytest.raises(ValueError, match="has 1 axes, expected 2 to 5"):
        channels_first(torch.zeros(2))


@pytest.mark.parametrize("axes", ["", "b c", "b c t h", "c b t", "b h w", "b c c", "b t t"])
def test_axes_that_do_not_fit(axes):
    with pytest.raises(ValueError, match=rf"axes '{axes}' do not fit late with 3 axes; expected"):
        channels_first(torch.zeros(2, 3, 4), axes, "late")


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_place_of_the_channels(data):
    """Every element is found at the place that its letters say."""
    letters = data.draw(st.permutations(["c", *"thw"[: data.draw(st.integers(0, 3))]]))
    shape = {"b": 2, **{letter: data.draw(st.integers(1, 4)) for letter in letters}}
    x = torch.randn([shape[letter] for letter in ("b", *letters)])
    found = channels_first(x, " ".join(["b", *letters]))
    assert found.axes == tuple(letter for letter in letters if letter != "c")
    assert list(found.tensor.shape) == [2, shape["c"], *(shape[one] for one in found.axes)]
    expected = torch.einsum(f"b{''.join(letters)}->bc{''.join(found.axes)}", x)
    torch.testing.assert_close(found.tensor, expected, rtol=0, atol=0)


def test_hidden_maps_are_those_of_each_pair():
    student, teacher = outputs(a=(5, 3), b=(4, 6)), outputs(b=(7, 8), c=(7, 8, 9))
    pairs = [LayerPair("a", "b", "b n c"), ("b", "c")]
    (ours, theirs), (second, _) = hidden_maps("at", pairs, student, teacher)
    torch.testing.assert_close(ours.tensor, student.hidden["a"].mT, rtol=0, atol=0)
    assert (ours.axes, theirs.axes, second.axes) == (("n",), ("t",), ("t",))
    torch.testing.assert_close(theirs.tensor, teacher.hidden["b"], rtol=0, atol=0)
    torch.testing.assert_close(second.tensor, student.hidden["b"], rtol=0, atol=0)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_frames_folded_into_the_batch_are_refused(role):
    """A video encoder that runs frame by frame gives hidden tensors of B·T rows."""
    both = {"student": outputs(a=(3, 4)), "teacher": outputs(a=(3, 4))}
    both[role].hidden["a"] = torch.zeros(8, 3, 4)
    match = rf"at: hidden layer 'a' of the {role} has shape \[8, 3, 4\], .*the 2 rows of the batch"
    with pytest.raises(ValueError, match=match):
        hidden_maps("at", None, **both)


def test_channel_counts():
    student, teacher = outputs(a=(5, 3), b=(4, 6)), Spec(9, {"a": (7, 8), "b": (2, 3, 4)})
    pairs = [LayerPair("a", "a", "b n c"), LayerPair("b", "b", None, "b f t c")]
    assert channel_counts("ofd", pairs, student, teacher) == [(3, 7), (4, 4)]
    assert channel_counts("ofd", None, Spec.of(student), teacher) == [(5, 7), (4, 2)]


@pytest.mark.parametrize("blind", [8, Spec(8), outputs(), object()])
def test_specs_that_hold_no_hidden_shapes(blind):
    held = outputs(a=(3, 4))
    match = r"ofd makes adapters .* the {}'s spec holds no shapes; .*loss\.bind\("
    with pytest.raises(ValueError, match=match.format("student")):
        channel_counts("ofd", None, blind, held)
    with pytest.raises(ValueError, match=match.format("teacher")):
        channel_counts("ofd", None, held, blind)
    assert hidden_shapes(blind) == {}


def test_channel_counts_check_layers_and_axes():
    held = outputs(a=(3, 4))
    with pytest.raises(ValueError, match=r"hidden layers \['z'\] of the student"):
        channel_counts("ofd", ["z"], held, held)
    with pytest.raises(ValueError, match="axes 'b c' do not fit a with 3 axes"):
        channel_counts("ofd", [LayerPair("a", "a", "b c")], held, held)
