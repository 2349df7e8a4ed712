"""The tensors that a file of weights holds, whoever wrote it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xdistill.storage.checksums import check_zip, of_tensors

DIGEST = "digest"
"""The entry of a safetensors file's metadata with the checksum of its tensors."""
STUDENT = "distiller.student."
"""What the names of a student's tensors begin with in a checkpoint of `fit`."""


def read_weights(path: Path, *, checked: bool = False) -> Mapping[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Of a checkpoint that `fit` wrote they are those of the best student so far, of another one with
    a `state_dict` the tensors in it.

    Args:
        path: of a safetensors file, or of what `torch.load(weights_only=True)` reads.
        checked: refuse a safetensors file without a checksum, which `save_weights` has not written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or holds no weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path, checked)
        check_zip(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged or holds pickled objects besides tensors, which could run code; "
            "save its state_dict with save_weights"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is truncated, damaged or not a file of weights "
            f"({type(error).__name__}: {error}); download or save it again"
        ) from error
    return _state_dict(path, content)


def _read_safetensors(path: Path, checked: bool) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        expected = (file.metadata() or {}).get(DIGEST)
    if expected is None and checked:
        raise ValueError("it has no checksum, so it is not what save_weights wrote")
    if expected is not None and of_tensors(tensors) != expected:
        raise ValueError("its tensors do not match its checksum")
    return tensors


def _state_dict(path: Path, content: Any) -> Mapping[str, Tensor]:
    if _is_state_dict(content):
        return content
    if isinstance(content, Mapping):
        found = _best_student(content.get("callbacks"))
        inside = content.get("state_dict")
        if found is None and isinstance(inside, Mapping) and _is_state_dict(inside):
            student = {
                name.removeprefix(STUDENT): tensor
                for name, tensor in inside.items()
                if name.startswith(STUDENT)
            }
            found = student or inside
        if found is not None:
            return found
    keys = f" with the entries {list(content)[:8]}" if isinstance(content, Mapping) else ""
    raise ValueError(
        f"{path} holds a {type(content).__name__}{keys}, expected a state_dict (name -> tensor), "
        "alone or under 'state_dict', or a checkpoint of fit; save it with save_weights"
    )


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(name, str) for name in content)
        and all(isinstance(tensor, Tensor) for tensor in content.values())
    )


def _best_student(callbacks: Any) -> Mapping[str, Tensor] | None:
    """The student that validation preferred, which `fit` keeps in the state of its callback."""
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(state, Mapping) and _is_state_dict(state.get("best_student")):
            return state["best_student"]
    return None
