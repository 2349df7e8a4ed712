"""Any plain network as an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xdistill.eval_mode import eval_mode
from xdistill.modalities import get_modality
from xdistill.types import Outputs


def wrap(
    network: nn.Module,
    modality: str,
    features: str | Callable[[Tensor], Tensor] | None = None,
    classifier: nn.Module | str | int | None = None,
    *,
    dim: int | None = None,
    example: Tensor | None = None,
) -> WrappedNetwork:
    """A teacher or student of any network that takes a batch and returns a tensor.

        teacher = xd.wrap(net, "eeg", features="pool", classifier="fc")

    Args:
        network: the network; it becomes a part of the encoder and is not copied.
        modality: the registered modality whose batches it takes.
        features: what the embedding is. The name of a module inside the network: that module's
            output; a callable: what it returns for a batch, `net.forward_features` for instance;
            None: what the network returns. Maps [B, D, H, W] and [B, D, T, H, W] are averaged over
            their last axes; tokens and series need a callable that pools them.
        classifier: what makes logits [B, K] of the embedding: a module, the name of one inside the
            network, or a number of classes for a new linear layer. With None there are logits only
            where `features` names a layer: those that the network returns.
        dim: width of the embedding, where neither layer nor classifier tells it.
        example: a batch to find the width with instead.

    Raises:
        ValueError: an unknown modality or layer, or nothing that tells the width of the embedding.
        TypeError: the network is not an `nn.Module`.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"wrap expects an nn.Module, got {type(network).__name__}")
    known = dict(network.named_modules())
    for layer in (features, classifier):
        if isinstance(layer, str) and (not layer or layer not in known):
            raise ValueError(
                f"{type(network).__name__} has no module {layer!r}; choose one of "
                f"{[name for name in known if name][:30]}"
            )
    wrapped = WrappedNetwork(network, modality, features)
    if dim is None:
        dim = _width(wrapped, known, features, classifier, example)
    wrapped.dim = dim
    if isinstance(classifier, int):
        if classifier < 1:
            raise ValueError(f"classifier must be a number of classes from 1, got {classifier}")
        classifier = nn.Linear(dim, classifier)
    wrapped.set_classifier(classifier)
    return wrapped


def _width(
    wrapped: WrappedNetwork, known: dict[str, nn.Module], features: Any, classifier: Any, example
) -> int:
    if example is not None:
        with torch.no_grad(), eval_mode(wrapped):
            embedding = wrapped(example).embedding
        return embedding.shape[1]
    head = known.get(classifier) if isinstance(classifier, str) else classifier
    if isinstance(head, nn.Linear):
        return head.in_features
    layer = known.get(features) if isinstance(features, str) else None
    if isinstance(layer, nn.Linear):
        return layer.out_features
    raise ValueError("nothing tells how wide the embedding is; pass dim=…, or a batch as example=…")


class WrappedNetwork(nn.Module):
    """An encoder around a plain network; made by `wrap`."""

    def __init__(self, network: nn.Module, modality: str, features: Any):
        super().__init__()
        self.kind = get_modality(modality)
        self.modality = modality
        self.dim = 0
        self.network = network
        self.classifier: nn.Module | None = None
        self._layer = features if isinstance(features, str) else None
        self._features = None if isinstance(features, str) else features
        self._inside: str | None = None
        self._seen: Any = None
        if self._layer is not None:
            network.get_submodule(self._layer).register_forward_hook(self._keep)

    def set_classifier(self, classifier: nn.Module | str | None) -> None:
        """What makes logits of the embedding: a module, or the name of one in the network."""
        if isinstance(classifier, nn.Module):
            for name, module in self.network.named_modules():
                if module is classifier:
                    classifier = name  # it is saved once, with the network
                    break
        if isinstance(classifier, str):
            self._inside = classifier
        else:
            self.classifier = classifier

    def forward(self, x: Tensor) -> Outputs:
        self.kind.check(x, finite=False)
        if self._layer is not None:
            self._seen = None
            returned = self.network(x)
            features, self._seen = self._seen, None
            what = f"layer {self._layer!r}"
        else:
            returned = None
            features = self.network(x) if self._features is None else self._features(x)
            what = type(self.network).__name__ if self._features is None else "features(x)"
        embedding = _pooled(features, x.shape[0], what)
        head = self.classifier if self._inside is None else None
        if self._inside is not None:
            head = self.network.get_submodule(self._inside)
        logits = returned if head is None else head(embedding)
        if logits is not None:
            _require_matrix(
                logits, x.shape[0], "the network's output" if head is None else "logits"
            )
        return Outputs(embedding, logits)

    def _keep(self, layer: nn.Module, inputs: tuple, output: Any) -> None:
        self._seen = output


def _pooled(features: Any, rows: int, what: str) -> Tensor:
    if isinstance(features, Tensor) and features.ndim in (4, 5):
        features = features.flatten(2).mean(dim=2)
    _require_matrix(features, rows, what)
    return features


def _require_matrix(found: Any, rows: int, what: str) -> None:
    if not isinstance(found, Tensor):
        came = type(found).__name__
    elif found.ndim != 2 or found.shape[0] != rows:
        came = f"shape {tuple(found.shape)}"
    else:
        return
    raise ValueError(
        f"{what} gives {came} for {rows} rows, expected one vector for each row [{rows}, D]; pass "
        "features= a function of the batch that returns it"
    )
