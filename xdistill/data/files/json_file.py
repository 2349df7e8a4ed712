"""JSON files that nobody vouches for."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: no JSON, no UTF-8, a name that occurs twice in an object, NaN or infinity, or
            lists in lists deeper than Python reads.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON ({type(error).__name__}: {error}); if it is truncated, "
            "copy it again"
        ) from error


def parse_json(text: str) -> Any:
    """The value of a JSON text; raises as `read_json`, without the file's name."""
    return json.loads(
        text, object_pairs_hook=_once_each, parse_constant=_finite, parse_float=_finite
    )


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs more than once in one object")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"the number {text} is not finite")
    return value


def name_of(value: Any, what: str) -> str:
    """A name in JSON, which may be a whole number.

    Raises:
        ValueError: it is empty, null, or of another kind.
    """
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise ValueError(f"{what} is {value!r}, expected a name")
    return str(value)


def segment_of(value: Any) -> tuple[int, int] | None:
    """A segment in JSON: the first frame and the one after the last, counted from 1; or null.

    Raises:
        ValueError: it is no pair of whole numbers.
    """
    if value is None:
        return None
    whole = (
        [int(one) for one in value if isinstance(one, int | float) and one == int(one)]
        if isinstance(value, list)
        else []
    )
    if len(whole) != 2 or len(value) != 2:
        raise ValueError(f"the segment {value!r} is not [first frame, the one after the last]")
    return whole[0], whole[1]
