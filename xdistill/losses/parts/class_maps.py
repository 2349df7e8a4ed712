"""Pairs of hidden maps whose channels are class scores."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from xdistill.losses.parts.layers import Layers, hidden_maps
from xdistill.losses.parts.shared_axes import align
from xdistill.types import Outputs


def class_maps(
    loss: str, layers: Layers | None, student: Outputs, teacher: Outputs
) -> list[tuple[Float[Tensor, "b k *s"], Float[Tensor, "b k *s"]]]:
    """The class maps of each pair of layers, on the axes that they share.

    Raises:
        ValueError: as `hidden_maps` and `shared_axes.align`, or channels that are not the classes.
    """
    classes = None if student.logits is None else student.logits.shape[1]
    found = []
    for ours, theirs in hidden_maps(loss, layers, student, teacher):
        counts = ours.tensor.shape[1], theirs.tensor.shape[1]
        if len({*counts, counts[0] if classes is None else classes}) > 1:
            raise ValueError(
                f"{loss} compares maps of class scores [B, K, ...], got {counts[0]} (student) and "
                f"{counts[1]} (teacher) channels for {classes or 'as many'} classes; make them "
                "with xd.class_map(encoder, layer) on both sides"
            )
        found.append(align(loss, ours, theirs))
    return found
