"""The columns of a dataset from another one whose rows are dicts or samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import IterableDataset

from xdistill.types import PairedSample


class RowReader:
    """Reads rows of a dataset; columns that ask for the same row in turn share one reading.

    A column that asks twice gets the row read again, so that a random transform shows itself.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset
        self._row: int | None = None
        self._sample: Any = None
        self._asked: set[str] = set()

    def read(self, row: int, column: str) -> Any:
        """The row, on behalf of a column."""
        if row != self._row or column in self._asked:
            self._sample, self._row, self._asked = self.dataset[row], row, set()
        self._asked.add(column)
        return self._sample


class KeyColumn(Sequence):
    """One key of rows that are dicts."""

    def __init__(self, reader: RowReader, key: str):
        self.reader = reader
        self.key = key

    def __len__(self) -> int:
        return len(self.reader.dataset)

    def __getitem__(self, row):
        return self.reader.read(row, self.key)[self.key]


class SampleColumn(Sequence):
    """One modality of rows that are PairedSamples."""

    def __init__(self, reader: RowReader, modality: str):
        self.reader = reader
        self.modality = modality

    def __len__(self) -> int:
        return len(self.reader.dataset)

    def __getitem__(self, row):
        return self.reader.read(row, self.modality).inputs[self.modality]


def row_columns(
    dataset: Any,
    inputs: Sequence[str] | Mapping[str, str],
    fields: Mapping[str, str | None],
    classes: Sequence[str] | None,
) -> dict[str, Any]:
    """The arguments of the dataset that these rows make; see `PairedDataset.from_rows`."""
    check_rows_of(dataset)
    if isinstance(inputs, str):
        inputs = (inputs,)
    keys = dict(inputs) if isinstance(inputs, Mapping) else {name: name for name in inputs}
    named = {field: key for field, key in fields.items() if key is not None}
    wanted = [*keys.values(), *named.values()]
    if hasattr(dataset, "column_names"):  # a Hugging Face dataset
        _refuse_absent(wanted, list(dataset.column_names))
        found = {key: list(dataset[key]) for key in named.values()}
        has = {key: _not_null(dataset, key) for key in keys.values()}
        columns = {
            name: KeyColumn(RowReader(dataset.select_columns([key])), key)
            for name, key in keys.items()
        }
        label = dataset.features[named["target"]]
        classes = getattr(label, "names", None) if classes is None else classes
    else:
        found = {key: [] for key in named.values()}
        has = {key: [] for key in keys.values()}
        for row in range(len(dataset)):
            sample = dataset[row]
            if not isinstance(sample, Mapping):
                raise TypeError(
                    f"row {row} of {type(dataset).__name__} is a {type(sample).__name__}, expected "
                    "a dict; let __getitem__ return one, or a PairedSample"
                )
            _refuse_absent(wanted, list(sample))
            for key in found:
                found[key].append(sample[key])
            for key in has:
                has[key].append(sample[key] is not None)
        reader = RowReader(dataset)
        columns = {name: KeyColumn(reader, key) for name, key in keys.items()}
    return {
        "inputs": columns,
        "valid": {name: has[key] for name, key in keys.items() if not all(has[key])},
        "classes": classes,
        **{field: found[key] for field, key in named.items()},
    }


def sample_columns(dataset: Any) -> dict[str, Any]:
    """The arguments of the dataset that rows of PairedSample make; each is read once, now."""
    samples = []
    for row in range(len(dataset)):
        sample = dataset[row]
        if not isinstance(sample, PairedSample):
            raise TypeError(
                f"row {row} of {type(dataset).__name__} is a {type(sample).__name__}, the rows "
                "before it are PairedSamples; return one kind"
            )
        has = {name: sample.valid.get(name, True) for name in sample.inputs}
        samples.append((sample.target, sample.group, has, bool(sample.cached)))
    if any(cached for *_, cached in samples):
        raise ValueError(
            f"rows of {type(dataset).__name__} hold cached outputs of a teacher; give them to "
            "PairedDataset(cached=…) instead"
        )
    names = sorted({name for _, _, has, _ in samples for name in has})
    targets = [target for target, *_ in samples]
    valid = {name: [has.get(name, False) for _, _, has, _ in samples] for name in names}
    reader = RowReader(dataset)
    return {
        "inputs": {name: SampleColumn(reader, name) for name in names},
        "target": targets,
        "classes": getattr(dataset, "classes", None) or _numbered(targets),
        "group": [group for _, group, *_ in samples],
        "valid": {name: mask for name, mask in valid.items() if not all(mask)},
    }


def check_rows_of(dataset: Any) -> None:
    """Refuse a dataset whose rows have no numbers.

    Raises:
        TypeError: it has no `len` or no `[row]`.
    """
    stream = isinstance(dataset, IterableDataset)
    if stream or not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"a {type(dataset).__name__} has no length and rows[i], which audit, caches and "
            "splits need; pass a list of its rows, or a dataset that has them"
        )


def _numbered(targets: Sequence[Any]) -> tuple[str, ...]:
    """Names for classes that have none: their numbers."""
    first = targets[0]
    if getattr(first, "ndim", 0):
        return tuple(map(str, range(len(first))))
    return tuple(map(str, range(max(1, 1 + max(int(target) for target in targets)))))


def _refuse_absent(wanted: Sequence[str], keys: Sequence[str]) -> None:
    absent = sorted({one for one in wanted if one not in keys})
    if absent:
        raise ValueError(f"rows have no {', '.join(map(repr, absent))}; their keys are {keys}")


def _not_null(dataset: Any, key: str) -> list[bool]:
    """Where a Hugging Face column has a value, without decoding it."""
    table = dataset.select_columns([key]).with_format("arrow")[:]
    return [not null for null in table[key].is_null().to_pylist()]
