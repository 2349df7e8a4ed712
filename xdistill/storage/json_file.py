"""JSON files of ours, with a checksum of their content."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xdistill.storage.atomic import replacing
from xdistill.storage.checksums import of_json

CHECKSUM = "checksum"
"""The entry of a JSON file with the checksum of the others."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file with a checksum of its content, as its last entry.

    A reader finds the old content or the whole new one. JSON has no NaN and no infinity: a number
    that is neither measured nor finite, as κ of one class, is null there.

    Raises:
        OSError: the file cannot be written; names it.
    """
    kept = _finite(json.loads(json.dumps(content, default=str)))
    kept.pop(CHECKSUM, None)
    kept[CHECKSUM] = of_json(kept)
    with replacing(path) as partial:
        partial.write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    """JSON's content with null for every number that is not finite."""
    if isinstance(content, dict):
        return {name: _finite(one) for name, one in content.items()}
    if isinstance(content, list):
        return [_finite(one) for one in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path, *, checked: bool = True) -> dict[str, Any]:
    """Read a JSON file that `write_json` wrote, without its checksum.

    Args:
        path: of the file.
        checked: refuse a file without a checksum. One that is there is always checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no valid JSON, or was damaged or changed since it was written; the
            message names it.
    """
    try:
        content = json.loads(path.read_bytes().decode())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it or restore it") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, expected an object; delete it or restore it"
        )
    expected = content.pop(CHECKSUM, None)
    if expected is None and not checked:
        return content
    if expected != of_json(content):
        how = "has no checksum" if expected is None else "does not match its checksum"
        raise ValueError(
            f"{path} {how}: it was edited by hand, damaged, or written by something else; restore "
            "it, or delete it to have it made again"
        )
    return content
