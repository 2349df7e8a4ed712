"""The fields of a row beside its inputs (class, group, mask, name, time), from what users have.

Lists, NumPy arrays, tensors and pandas columns are read alike. What has no clear meaning (NaN, half
a group, an empty name) is refused with its row, never rounded or turned into a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def as_target(
    target: Any, classes: Sequence[str] | None
) -> tuple[Int64[Tensor, "n ..."], tuple[str, ...]]:
    """Class indices and the names of the classes, from indices or names.

    Args:
        target: [N] indices, -1 where unlabelled; [N] names, None, NaN or "" where unlabelled; or
            [N, K].
        classes: the names in the order of the indices; None takes the sorted names of `target`.

    Raises:
        ValueError: a name that is no class, numbers that are not whole, or numbers without classes.
    """
    values = _values(target)
    if _named(values):
        names = [None if is_missing(one) or one == "" else str(one) for one in values]
        known = sorted({one for one in names if one is not None})
        return _codes("target", names, known if classes is None else classes)
    if classes is None:
        raise ValueError(
            "target holds numbers, so the dataset does not know what its classes are called; pass "
            'classes=("wake", "sleep", …), in the order of the numbers'
        )
    advice = (
        'so they are no classes; pass target_kind="values" for a regression or target_kind="soft" '
        "for probabilities"
    )
    return _whole("target", values, advice), tuple(classes)


def as_group(
    group: Any, names: Sequence[str] | None
) -> tuple[Int64[Tensor, " n"], tuple[str, ...] | None]:
    """Group numbers, and the names of the groups if they have any.

    Args:
        group: [N] whole numbers or names.
        names: the names in the order of the numbers; None takes the sorted names of `group`.

    Raises:
        ValueError: a group is missing or not a whole number.
    """
    values = _values(group)
    _refuse_missing("group", values, "name the subject of every row, or leave the row out")
    if not _named(values):
        given = None if names is None else tuple(map(str, names))
        return _whole("group", values, "name the groups, or number them"), given
    text = [str(one) for one in values]
    codes, known = _codes("group", text, sorted(set(text)) if names is None else names)
    return codes, known


def as_mask(what: str, mask: Any) -> Bool[Tensor, " n"]:
    """A mask from booleans, or from 0 and 1.

    Raises:
        ValueError: another value, NaN for instance.
    """
    values = _values(mask)
    if values.dtype.kind == "b":
        return torch.from_numpy(values.copy())
    for row, one in enumerate(values.tolist()):
        if is_missing(one) or one not in (0, 1):
            raise ValueError(
                f"{what} holds {one!r} in row {row}, expected True or False; say of every row "
                "whether it has the modality"
            )
    return torch.from_numpy(values.astype(bool))


def as_ids(ids: Any) -> tuple[str, ...]:
    """Names of rows, as text.

    Raises:
        ValueError: a name is missing or empty.
    """
    values = ids.tolist() if isinstance(ids, np.ndarray | Tensor) else list(ids)
    _refuse_missing("ids", values, "name every row, or leave ids out to number the rows")
    return tuple(map(str, values))


def as_start_s(start_s: Any) -> Float[Tensor, " n"]:
    """Seconds, as float64.

    Raises:
        ValueError: a time is missing, NaN or infinite.
    """
    values = _values(start_s)
    _refuse_missing("start_s", values, "give every row its time, or leave start_s out")
    seconds = torch.from_numpy(values.astype(np.float64))
    wrong = (~seconds.isfinite()).nonzero().flatten()
    if len(wrong):
        raise ValueError(
            f"start_s holds {float(seconds[wrong[0]])} in row {int(wrong[0])}, expected seconds; "
            "give every row its time, or leave start_s out"
        )
    return seconds


def as_positions(rows: Any, length: int) -> Int64[Tensor, " n"]:
    """Positions from positions or from a mask.

    Raises:
        ValueError: a mask of another length, positions out of range, or neither.
    """
    values = _values(rows)
    if values.dtype.kind == "b":
        if len(values) != length:
            raise ValueError(
                f"a mask of {len(values)} rows cannot select from a dataset of {length}; pass "
                "one value for each row"
            )
        return torch.from_numpy(values.nonzero()[0])
    if not values.size:
        return torch.zeros(0, dtype=torch.int64)
    if values.dtype.kind not in "iu" or values.dtype == np.uint8:
        raise ValueError(
            f"rows of type {values.dtype} are neither positions nor a mask; pass whole numbers "
            "(int64), or a mask of True and False (mask.bool())"
        )
    chosen = torch.from_numpy(values.astype(np.int64))
    low, high = int(chosen.min()), int(chosen.max())
    if low < 0 or high >= length:
        raise ValueError(
            f"position {low if low < 0 else high} is not in a dataset of {length} rows; pass "
            f"positions from 0 to {length - 1}"
        )
    return chosen


def _values(given: Any) -> np.ndarray:
    if isinstance(given, Tensor):
        return given.detach().cpu().numpy()
    if hasattr(given, "to_numpy"):  # a pandas Series
        return given.to_numpy()
    if isinstance(given, np.ndarray):
        return given
    items = list(given)
    if any(isinstance(one, Tensor) for one in items):
        return torch.stack([torch.as_tensor(one) for one in items]).numpy()
    # NumPy would make text of a None or a NaN between names.
    mixed = any(isinstance(one, str) for one in items) or any(one is None for one in items)
    return np.array(items, dtype=object) if mixed else np.asarray(items)


def _named(values: np.ndarray) -> bool:
    kind = values.dtype.kind
    return kind in "UST" or (kind == "O" and any(isinstance(one, str) for one in values.flat))


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, or pandas.NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA answers neither yes nor no
        return True


def _refuse_missing(what: str, values: Any, advice: str) -> None:
    for row, one in enumerate(values):
        if is_missing(one) or (isinstance(one, str) and not one.strip()):
            raise ValueError(f"{what} of row {row} is missing (got {one!r}); {advice}")


def _codes(
    what: str, names: Sequence[str | None], known: Sequence[str]
) -> tuple[Int64[Tensor, " n"], tuple[str, ...]]:
    """The place of each name among the known ones, -1 for None."""
    places = {str(name): place for place, name in enumerate(known)}
    for row, name in enumerate(names):
        if name is not None and name not in places:
            raise ValueError(f"{what} of row {row} is {name!r}, expected one of {list(places)}")
    codes = [-1 if name is None else places[name] for name in names]
    return torch.tensor(codes, dtype=torch.int64), tuple(map(str, known))


def _whole(what: str, values: np.ndarray, advice: str) -> Int64[Tensor, "n ..."]:
    try:
        numbers = values.astype(np.float64) if values.dtype.kind in "fO" else values
        whole = numbers.astype(np.int64) if np.isfinite(numbers).all() else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} holds no numbers ({error}); pass numbers or names") from error
    if whole is None or not (whole == numbers).all():
        raise ValueError(
            f"{what} has values that are not whole numbers ({values.flat[_first(numbers)]}); "
            f"{advice}"
        )
    return torch.from_numpy(whole)


def _first(numbers: np.ndarray) -> int:
    return int(np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.floor(numbers))))[0])
