"""Weights on disk: safetensors, or a torch file without pickled code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

SHOWN = 5
"""Names that an error lists before it only counts them."""


def save_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write parameters and buffers as safetensors.

    The file is written under another name and then renamed, so that an interrupted call leaves the
    old file or none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # safetensors refuses tensors that share memory; a clone has its own
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(save(tensors))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_weights(
    module: nn.Module, path: str | os.PathLike[str], *, skip: Sequence[str] = ()
) -> None:
    """Fill a module from a file; if a name or a shape does not match, nothing is changed.

    Args:
        module: filled in place, on the device where it is.
        path: `.safetensors`, or anything that `torch.load(weights_only=True)` reads as a
            state_dict.
        skip: prefixes of names ("head."). Such tensors are ignored in the file and left unchanged
            in the module.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, is not a state_dict, or does not match the module.
    """
    path = Path(path)
    skip = tuple(skip)
    found = {name: t for name, t in read_weights(path).items() if not name.startswith(skip)}
    state = module.state_dict()
    wanted = {name: t for name, t in state.items() if not name.startswith(skip)}
    problems = _differences(wanted, found)
    if problems:
        raise ValueError(
            f"{path} does not fit {type(module).__name__}: {'; '.join(problems)}. Create the "
            "module with the options that the file was saved with"
        )
    module.load_state_dict({**state, **found})


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or is not a state_dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is truncated or not a file of weights "
            f"({type(error).__name__}: {error}); download or save it again"
        ) from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged or holds pickled objects besides tensors, which could run code; "
            "save its state_dict with save_weights"
        ) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in content.values()
    ):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, expected a state_dict (name -> tensor); "
            "save it with save_weights"
        )
    return content


def _differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    parts = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": shapes,
    }
    return [_shorten(label, names) for label, names in parts.items() if names]


def _shorten(label: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {label} ({', '.join(names[:SHOWN])}{more})"
