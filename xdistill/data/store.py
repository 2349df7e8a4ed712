"""Tensors in files that are written once.

A file's name is a digest of everything that its content depends on, so it never becomes outdated. A
file is written elsewhere and then renamed, so a killed process leaves no half-written file.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from xdistill.storage.atomic import cannot_write
from xdistill.storage.checksums import of_tensors

STALE_AFTER_S = 3600


def default_root(kind: str) -> Path:
    """``$XDISTILL_CACHE/<kind>``, or the same under ``~/.cache/xdistill``."""
    return Path(os.environ.get("XDISTILL_CACHE") or Path.home() / ".cache" / "xdistill") / kind


def stored_tensors(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which is written first unless it is there and intact.

    A truncated or damaged file is reported by a warning and written again. Several processes may
    call this at once: each writes its own temporary file, and the last rename wins.

    Raises:
        OSError: the file cannot be written; names it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if path.exists():
        try:
            return _load(path)
        except Exception as error:  # whatever is wrong with it, it can be written again
            warnings.warn(
                f"{path} is damaged ({type(error).__name__}: {error}); it is written again",
                stacklevel=3,
            )
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    # A folder, because safetensors writes a private temporary file of its own next to the target.
    partial = path.parent / f".partial-{uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        partial.mkdir()
        file = partial / path.name
        file.touch()
        mode = file.stat().st_mode
        save_file(tensors, file, metadata={"digest": of_tensors(tensors)})
        file.chmod(mode)
        os.replace(file, path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _load(path)


def digest(*parts: bytes | str) -> str:
    """A short name that differs whenever a part does."""
    hasher = blake2b(digest_size=16)
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()


def _load(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        expected = (file.metadata() or {}).get("digest")
    if of_tensors(tensors) != expected:
        raise ValueError("its content does not match its checksum")
    return tensors


def _remove_stale(folder: Path) -> None:
    """Removes the remains of killed processes, except recent ones that may still be written."""
    for left in folder.glob(".partial-*"):
        try:
            stale = time.time() - left.stat().st_mtime > STALE_AFTER_S
        except FileNotFoundError:  # another process was quicker
            continue
        if stale:
            shutil.rmtree(left, ignore_errors=True)
