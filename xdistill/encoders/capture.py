"""Keep the output of any module inside an encoder in `Outputs.hidden`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

from xdistill.types import Outputs

M = TypeVar("M", bound=nn.Module)


def capture(encoder: M, layers: Sequence[str]) -> M:
    """Have an encoder return the outputs of modules inside it as `Outputs.hidden[name]`.

    The encoder itself is returned, with hooks on it: its code, its parameters and the names in its
    `state_dict` stay as they are, and it may be copied, compiled and saved as before. Of a module
    that returns a tuple the first tensor is kept, of one that runs several times in a pass the last
    output. Frames that an encoder of images has folded into the batch are unfolded: maps
    [B·T, C, H, W] become [B, C, T, H, W], vectors [B·T, C] become [B, C, T], and tokens
    [B·T, N, C] become [B, T, N, C].

        student = xd.capture(xd.create_encoder("timm/resnet18"), ["layer2", "layer3"])

    Args:
        encoder: any encoder, from timm, torchvision, braindecode or anywhere else.
        layers: names as in `encoder.named_modules()`. The prefix of a wrapped network may be
            omitted ("layer2" for "network.layer2") if only one module matches.

    Raises:
        ValueError: no module or several modules match a name; at a forward pass, a module returns
            no tensor, or its output is changed in place by the module after it.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    found = {name: _find(encoder, name) for name in names}
    recorder = _Recorder()
    for name, module in found.items():
        module.register_forward_hook(partial(recorder.keep, name))
    encoder.register_forward_pre_hook(recorder.start)
    encoder.register_forward_hook(recorder.hand_over)
    return encoder


class _Recorder:
    """Holds the captured tensors from the moment a module has run until the encoder returns."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}

    def start(self, encoder: nn.Module, inputs: tuple) -> None:
        self.seen, self.versions = {}, {}

    def keep(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(output, tuple | list) and output:
            output = output[0]
        if not isinstance(output, Tensor):
            raise ValueError(
                f"layer {name!r} ({type(module).__name__}) returns {type(output).__name__}, "
                "expected a tensor; capture a module inside or around it"
            )
        self.seen[name] = output
        if not torch.compiler.is_compiling():
            self.versions[name] = output._version

    def hand_over(self, encoder: nn.Module, inputs: tuple, outputs: Any) -> Outputs:
        seen, self.seen = self.seen, {}
        if not isinstance(outputs, Outputs):
            raise ValueError(
                f"capture expects an encoder that returns Outputs, but {type(encoder).__name__} "
                f"returned {type(outputs).__name__}; make it with xd.create_encoder, or wrap it"
            )
        for name, version in self.versions.items():
            if seen[name]._version != version:
                raise ValueError(
                    f"the output of layer {name!r} was changed in place by the module after it, "
                    "most likely a ReLU(inplace=True); capture that module instead, or set its "
                    "inplace to False"
                )
        rows = outputs.embedding.shape[0]  # len() would fix the batch in an exported network
        kept = {name: _by_row(name, tensor, rows) for name, tensor in seen.items()}
        return replace(outputs, hidden={**outputs.hidden, **kept})


def _by_row(name: str, x: Tensor, rows: int) -> Tensor:
    """The tensor with as many rows as the batch."""
    if x.shape[0] == rows:
        return x
    if x.shape[0] % rows:
        raise ValueError(
            f"layer {name!r} returned {x.shape[0]} rows for a batch of {rows}; capture a layer "
            "that keeps the batch as its first axis"
        )
    pattern = {2: "(b t) c -> b c t", 4: "(b t) c h w -> b c t h w"}.get(x.ndim)
    if pattern is None:
        return x.unflatten(0, (rows, -1))
    return rearrange(x, pattern, b=rows)


def _find(encoder: nn.Module, name: str) -> nn.Module:
    modules = dict(encoder.named_modules())
    if name in modules and name:
        return modules[name]
    inside = [each for each in modules if each.endswith(f".{name}")]
    if name and len(inside) == 1:
        return modules[inside[0]]
    if name and inside:
        raise ValueError(
            f"several modules of {type(encoder).__name__} match {name!r}: {inside}; "
            "give the full name of the one to capture"
        )
    known = [each for each in modules if each and each.count(".") <= 1]
    raise ValueError(
        f"{type(encoder).__name__} has no module {name!r} to capture; choose one of {known}"
    )
