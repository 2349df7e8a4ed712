"""The columns of a dataset from a table of files and features."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xdistill.data.fields import is_missing

Cells = dict[str, list[Any]]


class FileColumn(Sequence):
    """One file a row, read when it is asked for; None where a row has none."""

    def __init__(self, files: Sequence[Path | None], reader: Callable[[Path], Any]):
        self.files = list(files)
        self.reader = reader

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row):
        file = self.files[row]
        if file is None:
            raise IndexError(f"row {row} has no file")
        try:
            return self.reader(file)
        except Exception as error:
            raise ValueError(f"{file} cannot be read ({type(error).__name__}: {error})") from error


def read_npy(file: Path) -> np.ndarray:
    """An array from a .npy file; nothing is unpickled."""
    return np.load(file, allow_pickle=False)


def table_columns(
    table: str | Path | Any,
    columns: Mapping[str, str | Sequence[str]],
    fields: Mapping[str, str | None],
    readers: Mapping[str, Callable[[Path], Any]],
    root: str | Path | None,
) -> dict[str, Any]:
    """The arguments of the dataset that a table describes; see `PairedDataset.from_table`."""
    cells, name, home = _cells(table)
    folder = (home if root is None else Path(root)).expanduser().resolve()
    wanted = [*(one for one in fields.values() if one is not None)]
    for column in columns.values():
        wanted += [column] if isinstance(column, str) else list(column)
    absent = [one for one in wanted if one not in cells]
    if absent:
        raise ValueError(f"{name} has no column {absent}; its columns are {list(cells)}")
    unread = sorted(set(readers) - set(columns))
    if unread:
        raise ValueError(f"readers names {unread}, expected modalities of columns {list(columns)}")
    inputs, valid = {}, {}
    for modality, column in columns.items():
        if isinstance(column, str):
            files = _files(cells[column], f"{name}, column {column}", folder)
            inputs[modality] = FileColumn(files, _reader(modality, files, readers))
            has = [file is not None for file in files]
        else:
            inputs[modality], has = _features([cells[one] for one in column], list(column), name)
        if not all(has):
            valid[modality] = has
    _refuse_twice(inputs, name)
    found = {key: cells[column] for key, column in fields.items() if column is not None}
    if "ids" in found:
        _refuse_repeated(found["ids"], name)
    return {
        "inputs": inputs,
        "valid": valid,
        **found,
        "target": _target(found["target"]),
        **({"start_s": _seconds(found["start_s"], name)} if "start_s" in found else {}),
    }


def _cells(table: str | Path | Any) -> tuple[Cells, str, Path]:
    """The columns of a CSV file or a DataFrame, its name in messages, and its folder."""
    if not isinstance(table, str | Path):
        if not hasattr(table, "columns") or not hasattr(table, "to_dict"):
            raise TypeError(
                f"expected the path of a CSV file or a pandas DataFrame, got {type(table).__name__}"
            )
        return {str(one): table[one].tolist() for one in table.columns}, "the table", Path.cwd()
    path = Path(table).expanduser()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error}); save it again in UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV table ({error})") from error
    rows = [(line, row) for line, row in enumerate(rows, start=1) if row]
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows; expected a line of names and one line for each row")
    header = [one.strip() for one in rows[0][1]]
    if len(set(header)) < len(header):
        raise ValueError(f"{path} names a column twice: {header}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, row {line} has {len(row)} cells, expected {len(header)} ({header}); put "
                "cells with a comma into quotes"
            )
    cells = zip(*(row for _, row in rows[1:]), strict=True)
    columns = {
        name: [one.strip() for one in column] for name, column in zip(header, cells, strict=True)
    }
    return columns, str(path), path.parent


def _files(cells: Sequence[Any], where: str, root: Path) -> list[Path | None]:
    files: list[Path | None] = []
    for row, cell in enumerate(cells):
        if is_missing(cell) or not str(cell).strip():
            files.append(None)
            continue
        file = (root / str(cell)).resolve()
        if not file.is_relative_to(root):
            raise ValueError(
                f"{where}: row {row} names {str(cell)!r}, which is outside of {root}; pass the "
                "folder that holds all files as root"
            )
        files.append(file)
    lost = [file for file in files if file is not None and not file.is_file()]
    if lost:
        raise FileNotFoundError(
            f"{where}: {len(lost)} of {len(files)} files are missing (first: {lost[0]}); copy them "
            "there, or leave the cell empty where a row lacks the modality"
        )
    return files


def _reader(
    modality: str, files: Sequence[Path | None], readers: Mapping[str, Callable[[Path], Any]]
) -> Callable[[Path], Any]:
    if modality in readers:
        return readers[modality]
    kinds = sorted({file.suffix.lower() for file in files if file is not None} - {".npy"})
    if kinds:
        raise ValueError(
            f"{modality}: files of kind {', '.join(kinds)} need a reader; pass "
            f"readers={{{modality!r}: function}}, which takes a path and returns an array or tensor"
        )
    return read_npy


def _features(
    cells: Sequence[Sequence[Any]], names: Sequence[str], where: str
) -> tuple[Float[Tensor, "n f"], list[bool]]:
    """[N, F] of numbers, and which rows have them; a row with some of them is refused."""
    table = np.zeros((len(cells[0]), len(cells)), np.float32)
    has = []
    for row, values in enumerate(zip(*cells, strict=True)):
        empty = [is_missing(one) or one == "" for one in values]
        has.append(not all(empty))
        if not has[-1]:
            continue
        for column, one in enumerate(values):
            try:
                table[row, column] = float("" if empty[column] else one)
            except (TypeError, ValueError):
                raise ValueError(
                    f"{where}, column {names[column]}: row {row} holds {one!r}, expected a number; "
                    "fill the gap, or empty all features of the row, which then lacks the modality"
                ) from None
    return torch.from_numpy(table), has


def _refuse_twice(inputs: Mapping[str, Any], where: str) -> None:
    """Refuse two rows of the same files; equal features may well occur."""
    columns = [column.files for column in inputs.values() if isinstance(column, FileColumn)]
    if len(columns) < len(inputs):
        return
    seen: dict[tuple, int] = {}
    for row, files in enumerate(zip(*columns, strict=True)):
        if any(files) and files in seen:
            raise ValueError(
                f"{where}: rows {seen[files]} and {row} have the same files "
                f"({', '.join(str(file) for file in files)}); leave one of them out"
            )
        seen[files] = row


def _refuse_repeated(ids: Sequence[Any], where: str) -> None:
    seen: dict[str, int] = {}
    for row, one in enumerate(map(str, ids)):
        if one in seen:
            raise ValueError(f"{where}: rows {seen[one]} and {row} have the same id {one!r}")
        seen[one] = row


def _target(cells: Sequence[Any]) -> list[Any]:
    """Names as they are; whole numbers, where all cells are such, with -1 for an empty one."""
    empty = [is_missing(one) or one == "" for one in cells]
    try:
        numbers = [-1 if gap else float(one) for one, gap in zip(cells, empty, strict=True)]
    except (TypeError, ValueError):
        return [None if gap else one for one, gap in zip(cells, empty, strict=True)]
    return numbers


def _seconds(cells: Sequence[Any], where: str) -> list[float]:
    seconds = []
    for row, one in enumerate(cells):
        try:
            seconds.append(float(one))
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}: row {row} starts at {one!r}, expected seconds; give every row its time"
            ) from None
    return seconds
