"""Rows that were recorded in several modalities at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import Dataset

from xdistill.data.columns import as_column, as_row
from xdistill.data.concat import joined
from xdistill.data.describe import described
from xdistill.data.fields import as_group, as_ids, as_mask, as_positions, as_start_s
from xdistill.data.from_rows import row_columns
from xdistill.data.order import labelled_rows
from xdistill.data.rows import Column, Rows, take
from xdistill.data.table import table_columns
from xdistill.data.target import check_target, kind_of_column, target_column
from xdistill.types import Outputs, PairedSample, TargetKind


class PairedDataset(Dataset[PairedSample]):
    """N rows, each recorded in several modalities.

    Args:
        inputs: one column per modality: an array or tensor [N, ...], or anything with `len` and
            `[row]`, which may read its file then. float64 becomes float32 before transforms.
        target: [N] class index, -1 where unlabelled; [N] class name, None where unlabelled; or
            [N, K] for rows that may have several classes (see `PairedBatch`); or of another kind,
            which `target_kind` names.
        classes: names of the K classes; of the K values, or none, in a regression. None takes the
            sorted names in `target`: for several datasets with the same classes pass them.
        group: [N] number or name of the subject, or another unit that a split must not divide.
            None: each row its own.
        group_names: names of the groups, in the order of their numbers; None takes the sorted names
            in `group`, if it holds names.
        valid: per modality [N], False where a row lacks it; its column is not read there.
        transforms: per modality a function Tensor -> Tensor that is applied to a row.
        ids: [N] names of the rows, for messages and reports.
        start_s: [N] start of each row in its recording, in seconds; None where rows have no time.
        cached: per teacher modality the teacher's outputs (see `xdistill.data.cache`).
        target_kind: "values" for a regression, "soft" for probabilities of the classes, "sequence"
            for a class at each position [N, L]. None is "class" for [N] and "classes" for [N, K].

    Raises:
        TypeError: a column holds no numbers.
        ValueError: columns have different lengths, a target is no class, or a group, mask, id or
            time is missing or not what its name says.
    """

    def __init__(
        self,
        inputs: Mapping[str, Column],
        target: Any,
        *,
        classes: Sequence[str] | None = None,
        group: Any = None,
        group_names: Sequence[str] | None = None,
        valid: Mapping[str, Any] | None = None,
        transforms: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        ids: Sequence[str] | None = None,
        start_s: Any = None,
        cached: Mapping[str, Outputs] | None = None,
        target_kind: TargetKind | None = None,
    ):
        self.inputs = {name: as_column(name, column) for name, column in inputs.items()}
        self.target, self.classes = target_column(target, classes, target_kind)
        self.target_kind: TargetKind = kind_of_column(self.target, target_kind)
        own = torch.arange(len(self.target))
        self.group, self.group_names = as_group(own if group is None else group, group_names)
        self.valid = {
            name: as_mask(f"valid[{name!r}]", mask) for name, mask in (valid or {}).items()
        }
        self.transforms = dict(transforms or {})
        self.ids = tuple(map(str, range(len(self.target)))) if ids is None else as_ids(ids)
        self.start_s = None if start_s is None else as_start_s(start_s)
        self.cached = dict(cached or {})
        self._blank: dict[str, Tensor] = {}
        self._check()

    @classmethod
    def concat(
        cls, datasets: Sequence[PairedDataset], *, same_groups: bool | None = None
    ) -> PairedDataset:
        """The rows of several datasets one after the other, numbered from 0.

        Unlike `torch.utils.data.ConcatDataset`, in which the `index` of rows repeats, so that
        losses with a memory take two rows for one.

        Args:
            datasets: have the same classes. Rows of one without a modality lack it. Teachers'
                outputs are cached in all of them or in none.
            same_groups: whether a group of one dataset is the same subject as the group of that
                name (number, without names) in another; False keeps them apart. It is asked for
                where groups occur in several.

        Raises:
            ValueError: they do not fit together, or share groups and `same_groups` is None.
        """
        return cls(**joined(datasets, same_groups))

    @classmethod
    def from_table(
        cls,
        table: str | Path | Any,
        *,
        columns: Mapping[str, str | Sequence[str]],
        target: str,
        readers: Mapping[str, Callable[[Path], Any]] | None = None,
        group: str | None = None,
        ids: str | None = None,
        start_s: str | None = None,
        root: str | Path | None = None,
        **options: Any,
    ) -> PairedDataset:
        """Rows from a table: a CSV file with a header, or a pandas DataFrame.

        Args:
            table: path of the CSV file, or a DataFrame.
            columns: per modality the column of the table that holds its files' paths, or the
                columns that hold its features. A row whose path is empty, or whose features are all
                empty, lacks the modality.
            target: column of the class, by name or number; empty where unlabelled.
            readers: per modality of files a function Path -> array or tensor, called when the row
                is read.
            group: column of the subject.
            ids: column of unique names of the rows.
            start_s: column of the start of each row in its recording, in seconds.
            root: folder to which relative paths are relative; None: that of the CSV file, or the
                working directory. Files outside of it are refused.
            **options: further arguments of PairedDataset: `classes`, `transforms`, …

        Raises:
            FileNotFoundError: the table or a file in it is missing.
            ValueError: a column is missing, two rows have the same files or id, a field is no
                number, a path leads out of `root`, or a column of paths has no reader.
        """
        fields = {"target": target, "group": group, "ids": ids, "start_s": start_s}
        return cls(**table_columns(table, columns, fields, readers or {}, root), **options)

    @classmethod
    def from_rows(
        cls,
        dataset: Any,
        *,
        inputs: Sequence[str] | Mapping[str, str],
        target: str,
        classes: Sequence[str] | None = None,
        group: str | None = None,
        ids: str | None = None,
        start_s: str | None = None,
        **options: Any,
    ) -> PairedDataset:
        """Rows from any dataset of dicts, read when they are asked for; a Hugging Face one too.

        Fields other than inputs are read once, now: from the table where the dataset has
        `column_names`, else from its rows.

        Args:
            dataset: has `len` and `[row] -> dict`.
            inputs: keys of the modalities, or per modality its key. A row whose value is None lacks
                the modality.
            target: key of the class, by name or number; None where unlabelled.
            classes: names of the classes; None takes those of a Hugging Face `ClassLabel`.
            group: key of the subject.
            ids: key of the row's name.
            start_s: key of the row's start in its recording, in seconds.
            **options: further arguments of PairedDataset: `transforms`, …

        Raises:
            TypeError: a dataset without length, or whose rows are no dicts.
            ValueError: rows lack a key.
        """
        fields = {"target": target, "group": group, "ids": ids, "start_s": start_s}
        return cls(**row_columns(dataset, inputs, fields, classes), **options)

    def _check(self) -> None:
        lengths = {
            "target": len(self.target),
            "group": len(self.group),
            "ids": len(self.ids),
            "start_s": len(self.target) if self.start_s is None else len(self.start_s),
            **{f"inputs[{name!r}]": len(column) for name, column in self.inputs.items()},
            **{f"valid[{name!r}]": len(mask) for name, mask in self.valid.items()},
            **{f"cached[{name!r}]": len(out.embedding) for name, out in self.cached.items()},
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"a paired dataset needs columns of one length, got {lengths}")
        if self.group_names is not None and int(self.group.max()) >= len(self.group_names):
            raise ValueError(
                f"group {int(self.group.max())} has no name; group_names are {self.group_names}"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"two classes have one name in {self.classes}; name each once")
        if not len(self.target):
            raise ValueError("a paired dataset needs at least one row, got none; check the split")
        check_target(self.target, self.target_kind, self.classes, self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether a row may have several classes, `target` being [N, K]."""
        return self.target_kind == "classes"

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the inputs, in alphabetical order."""
        return tuple(sorted(self.inputs))

    @property
    def labelled(self) -> Bool[Tensor, " n"]:
        """Which rows have a label."""
        return labelled_rows(self.target)

    def rows_with(self, modality: str) -> Bool[Tensor, " n"]:
        """Which rows have the modality."""
        return self.valid.get(modality, torch.ones(len(self), dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, row: int) -> PairedSample:
        return PairedSample(
            inputs={name: self.read(name, row) for name in self.inputs if self.has(name, row)},
            target=int(self.target[row]) if self.target_kind == "class" else self.target[row],
            valid={name: bool(mask[row]) for name, mask in self.valid.items()},
            index=int(row),
            group=int(self.group[row]),
            cached={
                name: outputs.map(lambda tensor: tensor[row])
                for name, outputs in self.cached.items()
            },
        )

    def __getitems__(self, rows: list[int]) -> Rows:
        """Several rows for a DataLoader, which asks for a batch at a time."""
        return Rows(self, rows)

    def has(self, modality: str, row: int) -> bool:
        """Whether a row has the modality."""
        return modality not in self.valid or bool(self.valid[modality][row])

    def read(self, modality: str, row: int) -> Tensor:
        """One row of one modality, transformed, without reading the others.

        Raises:
            TypeError: the column returned no numbers.
        """
        name = f"row {row} ({self.ids[row]})"
        sample = as_row(self.inputs[modality][row], modality, name)
        transform = self.transforms.get(modality)
        changed = sample if transform is None else transform(sample)
        # A transform that returns a float64 tensor means it.
        return changed if isinstance(changed, Tensor) else as_row(changed, modality, name)

    def blank(self, modality: str) -> Tensor | None:
        """Zeros in the shape of a row, or None if no row of the dataset has the modality."""
        if modality not in self._blank:
            row = next((row for row in range(len(self)) if self.has(modality, row)), None)
            if row is None:
                return None
            with torch.random.fork_rng(devices=[]):  # leaves the run's random numbers alone
                self._blank[modality] = torch.zeros_like(self.read(modality, row))
        return self._blank[modality]

    def replace(self, **changes: Any) -> PairedDataset:
        """The same dataset with some arguments of the constructor changed."""
        own = {
            "inputs": self.inputs,
            "target": self.target,
            "classes": self.classes,
            "group": self.group,
            "group_names": None if "group" in changes else self.group_names,
            "valid": self.valid,
            "transforms": self.transforms,
            "ids": self.ids,
            "start_s": self.start_s,
            "cached": self.cached,
            "target_kind": None if self.target_kind in ("class", "classes") else self.target_kind,
        }
        return PairedDataset(**{**own, **changes})

    def with_outputs(
        self, modality: str, outputs: Outputs, name: str | None = None
    ) -> PairedDataset:
        """The same rows with a teacher's outputs in the place of its inputs.

        Under a name of their own the outputs stand beside the inputs, which other teachers of the
        modality still need.
        """
        if name is not None and name != modality:
            mask = {name: self.valid[modality]} if modality in self.valid else {}
            return self.replace(valid={**self.valid, **mask}, cached={**self.cached, name: outputs})
        return self.replace(
            inputs={name: column for name, column in self.inputs.items() if name != modality},
            transforms={name: f for name, f in self.transforms.items() if name != modality},
            cached={**self.cached, modality: outputs},
        )

    def subset(self, rows: Any) -> PairedDataset:
        """The rows at these positions, or where a mask is True; read lazily, renumbered from 0.

        Raises:
            ValueError: no row, a position that is not in the dataset, or a mask of another length.
        """
        rows = as_positions(rows, len(self))
        if not len(rows):
            raise ValueError("the subset has no rows, expected at least one; check the split")
        return self.replace(
            inputs={name: take(column, rows) for name, column in self.inputs.items()},
            target=self.target[rows],
            group=self.group[rows],
            group_names=self.group_names,
            valid={name: mask[rows] for name, mask in self.valid.items()},
            ids=[self.ids[row] for row in rows.tolist()],
            start_s=None if self.start_s is None else self.start_s[rows],
            cached={name: outputs.rows(rows) for name, outputs in self.cached.items()},
        )

    def name_of_group(self, group: int) -> str:
        """The name of a group, or its number where groups have no names."""
        return str(group) if self.group_names is None else self.group_names[group]

    def __repr__(self) -> str:
        return described(self)
