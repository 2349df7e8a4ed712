"""Checksums of what is kept in files, so that a flipped bit is noticed and not trained on."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def add_tensor(hasher: blake2b, name: str, tensor: Tensor) -> None:
    """Add a tensor's name, dtype, shape and values, of any dtype, to a hash."""
    hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
    hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """The checksum of named tensors, in whatever order they come."""
    hasher = blake2b()
    for name in sorted(tensors):
        add_tensor(hasher, name, tensors[name])
    return hasher.hexdigest()


def of_json(content: Any) -> str:
    """The checksum of what JSON holds: the same however it is laid out and its keys are ordered."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def of_file(path: Path) -> str:
    """The checksum of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


def check_zip(path: Path) -> None:
    """Check every record of a zip file, as `torch.save` writes it; `torch.load` itself does not.

    A file that is no zip (the format of torch before 1.6) has no checksums and passes.

    Raises:
        ValueError: the file is truncated, or a record does not match its checksum.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK" and not zipfile.is_zipfile(path):
            return
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error})") from error
    except (RuntimeError, UnicodeDecodeError, ValueError) as error:  # a flag that nothing here sets
        raise ValueError(f"{path} is damaged ({error})") from error
    if damaged is not None:
        raise ValueError(f"{path} is damaged: its record {damaged} does not match its checksum")
