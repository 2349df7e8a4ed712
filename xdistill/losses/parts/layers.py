"""Which hidden layers of student and teacher a loss compares, and the meaning of their axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from xdistill.types import Outputs, Spec

AXES_BY_RANK = {2: "b c", 3: "b c t", 4: "b c h w", 5: "b c t h w"}
"""Default axes of a hidden tensor of each rank: batch, channels, time, height, width."""


class LayerPair(NamedTuple):
    """A layer of the student and the layer of the teacher that it is compared with.

    Attributes:
        student: name in the student's `Outputs.hidden`.
        teacher: name in the teacher's.
        student_axes: letters of the student's axes, "b" first and "c" for channels ("b n c" for the
            tokens of a transformer, "b c f t" for a spectrogram). Axes of the same letter
            correspond. None takes the default for their number, `AXES_BY_RANK`.
        teacher_axes: the same of the teacher.
    """

    student: str
    teacher: str
    student_axes: str | None = None
    teacher_axes: str | None = None


Layers = Sequence[LayerPair | tuple[str, str] | str]
"""Pairs of layers; a single name stands for a layer of that name on both sides."""


class FeatureMap(NamedTuple):
    """A hidden tensor with its channels first.

    Attributes:
        tensor: [B, C, ...].
        axes: a letter for each axis after the channels.
    """

    tensor: Float[Tensor, "b c ..."]
    axes: tuple[str, ...]


def layer_pairs(
    loss: str, layers: Layers | None, student: Iterable[str], teacher: Iterable[str]
) -> list[LayerPair]:
    """The pairs that were asked for, or all hidden layers in their order when None.

    Args:
        loss: name of the loss, for the errors.
        layers: pairs, or None.
        student: names of the student's hidden layers.
        teacher: names of the teacher's hidden layers.

    Raises:
        ValueError: a layer that does not exist, no layers at all, unequal numbers of layers, or an
            entry that is not a pair.
    """
    student, teacher = list(student), list(teacher)
    if layers is None:
        return _in_order(loss, student, teacher)
    if isinstance(layers, str) or not layers:
        raise ValueError(
            f"{loss} got layers={layers!r}, expected a list of at least one hidden layer; say "
            "layers=['name'] or layers=[(student's, teacher's), ...], or None for all in order"
        )
    pairs = [_pair(one) for one in layers]
    for role, known, asked in (
        ("student", student, [pair.student for pair in pairs]),
        ("teacher", teacher, [pair.teacher for pair in pairs]),
    ):
        missing = [name for name in asked if name not in known]
        if missing:
            raise ValueError(
                f"{loss} compares hidden layers {missing} of the {role}, whose outputs hold "
                f"{known}; keep them with xd.capture(encoder, {missing})"
            )
    return pairs


def hidden_maps(
    loss: str, layers: Layers | None, student: Outputs, teacher: Outputs
) -> list[tuple[FeatureMap, FeatureMap]]:
    """The hidden tensors of each pair, student's and teacher's, channels first.

    Raises:
        ValueError: as `layer_pairs`, axes that do not fit a tensor, or a tensor without a row for
            each sample.
    """
    pairs = layer_pairs(loss, layers, student.hidden, teacher.hidden)
    for role, outputs, names in (
        ("student", student, [pair.student for pair in pairs]),
        ("teacher", teacher, [pair.teacher for pair in pairs]),
    ):
        _check_rows(loss, role, outputs, names)
    return [
        (
            channels_first(student.hidden[pair.student], pair.student_axes, pair.student),
            channels_first(teacher.hidden[pair.teacher], pair.teacher_axes, pair.teacher),
        )
        for pair in pairs
    ]


def channel_counts(
    loss: str, layers: Layers | None, student: Spec | Outputs | Any, teacher: Spec | Outputs | Any
) -> list[tuple[int, int]]:
    """Channels of student and teacher in each pair, for a loss that makes its adapters in `bind`.

    Raises:
        ValueError: the specs hold no hidden shapes, or as `layer_pairs`.
    """
    ours, theirs = hidden_shapes(student), hidden_shapes(teacher)
    if not ours or not theirs:
        role = "student" if not ours else "teacher"
        raise ValueError(
            f"{loss} makes adapters between hidden layers, but the {role}'s spec holds no shapes; "
            "keep layers with xd.capture(encoder, [...]) and bind with outputs, loss.bind("
            "student(x), teacher(y)), or give Distiller an example batch"
        )
    return [
        (
            _channels(ours[pair.student], pair.student_axes, pair.student),
            _channels(theirs[pair.teacher], pair.teacher_axes, pair.teacher),
        )
        for pair in layer_pairs(loss, layers, ours, theirs)
    ]


def hidden_shapes(spec: Spec | Outputs | Any) -> Mapping[str, tuple[int, ...]]:
    """Shapes of hidden tensors without their batch axis; empty where they are not known."""
    if isinstance(spec, Outputs):
        spec = Spec.of(spec)
    return spec.hidden if isinstance(spec, Spec) else {}


def channels_first(x: Tensor, axes: str | None = None, name: str = "hidden tensor") -> FeatureMap:
    """The tensor with its channels as second axis.

    Args:
        x: a tensor with B rows.
        axes: letters of its axes, or None for the default of their number.
        name: what to call it in an error.

    Raises:
        ValueError: axes that do not fit.
    """
    letters = _letters(x.ndim, axes, name)
    place = letters.index("c")
    rest = tuple(letter for letter in letters[1:] if letter != "c")
    return FeatureMap(x.movedim(place, 1), rest)


def _check_rows(loss: str, role: str, outputs: Outputs, names: list[str]) -> None:
    """Refuse tensors whose first axis is not the batch, as when frames are folded into it."""
    rows = len(outputs.embedding)
    for name in names:
        shape = list(outputs.hidden[name].shape)
        if not shape or shape[0] != rows:
            raise ValueError(
                f"{loss}: hidden layer {name!r} of the {role} has shape {shape}, expected its "
                f"first axis to hold the {rows} rows of the batch; unfold the axis that the "
                "encoder folded into it, or pair another layer"
            )


def _letters(rank: int, axes: str | None, name: str) -> list[str]:
    if axes is None and rank not in AXES_BY_RANK:
        raise ValueError(
            f"{name} has {rank} axes, expected 2 to 5; name them, as in axes 'b c t f h w'"
        )
    letters = (AXES_BY_RANK[rank] if axes is None else axes).split()
    unique = len(set(letters)) == len(letters)
    if len(letters) != rank or letters[0] != "b" or "c" not in letters or not unique:
        raise ValueError(
            f"axes {axes!r} do not fit {name} with {rank} axes; expected that many different "
            "letters, 'b' first and a 'c' for channels"
        )
    return letters


def _channels(shape: tuple[int, ...], axes: str | None, name: str) -> int:
    return shape[_letters(len(shape) + 1, axes, name).index("c") - 1]


def _pair(one: LayerPair | tuple[str, str] | str) -> LayerPair:
    if isinstance(one, LayerPair):
        return one
    if isinstance(one, str):
        return LayerPair(one, one)
    if len(one) != 2:
        raise ValueError(
            f"{one!r} is not a pair of layers; expected (student's, teacher's), one name for both, "
            "or LayerPair(student, teacher, student_axes=, teacher_axes=)"
        )
    return LayerPair(*one)


def _in_order(loss: str, student: list[str], teacher: list[str]) -> list[LayerPair]:
    if not student or not teacher:
        role = "student" if not student else "teacher"
        raise ValueError(
            f"{loss} compares hidden layers, but the {role}'s outputs hold none; keep some "
            "with xd.capture(encoder, [...])"
        )
    if len(student) != len(teacher):
        raise ValueError(
            f"{loss} pairs the hidden layers in their order, but the student has {student} and the "
            f"teacher {teacher}; name the pairs: layers=[(student's, teacher's), ...]"
        )
    return [LayerPair(*names) for names in zip(student, teacher, strict=True)]
