"""Class scores at each place of a feature map, by the encoder's own classifier."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

from xdistill.encoders.capture import capture
from xdistill.types import Outputs

M = TypeVar("M", bound=nn.Module)


def class_map(encoder: M, layer: str, classifier: nn.Linear | None = None) -> M:
    """Have an encoder return `Outputs.hidden["class_map"]`, [B, K, ...] from a map [B, C, ...].

    A class activation map (Zhou et al., CVPR 2016): the classifier's weights applied to the
    channels at each place. Where the embedding is the mean of the map over its places, the mean of
    the class map is the logits. Gradient reaches layer and classifier. `xd.SDD` and `xd.CATKD`
    compare such maps.

        student = xd.class_map(xd.create_encoder("timm/resnet18", num_classes=5), "layer4")

    Args:
        encoder: any encoder with a linear classifier; it is returned itself, with hooks on it.
        layer: the module whose output is the last map before it is averaged, as in `xd.capture`.
        classifier: the layer that maps the embedding to logits; None for `encoder.head.classifier`,
            where the encoders of this package have it.

    Raises:
        ValueError: no linear classifier, a layer that does not exist, or, at a forward pass, a map
            that has other channels than the classifier reads.
    """
    if classifier is None:
        classifier = getattr(getattr(encoder, "head", None), "classifier", None)
    if not isinstance(classifier, nn.Linear):
        raise ValueError(
            f"{type(encoder).__name__} has no linear head.classifier to apply to a map; create the "
            "encoder with num_classes, or pass its last layer as classifier="
        )
    last = classifier

    def add(module: nn.Module, inputs: tuple, outputs: Outputs) -> Outputs:
        return Outputs(outputs.embedding, outputs.logits, _with_map(outputs.hidden, layer, last))

    capture(encoder, [layer])
    encoder.register_forward_hook(add)
    return encoder


def _with_map(hidden: dict[str, Tensor], layer: str, classifier: nn.Linear) -> dict[str, Tensor]:
    features = hidden[layer]
    if features.ndim < 3 or features.shape[1] != classifier.in_features:
        raise ValueError(
            f"class_map applies a classifier of {classifier.in_features} features to the channels "
            f"of {layer!r}, a map [B, C, ...], got {list(features.shape)}; name the last layer "
            "before the average over places"
        )
    scores = classifier(features.movedim(1, -1)).movedim(-1, 1)
    return {**{name: x for name, x in hidden.items() if name != layer}, "class_map": scores}
