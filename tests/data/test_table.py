"""Datasets from tables of files and features."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch

import xdistill as xd

COLUMNS = {"eeg": "eeg", "tabular": ("age", "bmi")}
HEADER = ["name", "sleeper", "stage", "eeg", "age", "bmi", "start"]
FIELDS = {"target": "stage", "group": "sleeper", "ids": "name", "start_s": "start"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "eeg").mkdir()
    for row in range(4):
        np.save(tmp_path / "eeg" / f"{row}.npy", np.full((1, 5), float(row)))
    return tmp_path


def rows(**changes):
    table = [
        [f"e{row}", f"s{row // 2}", "W" if row % 2 else "N1", f"eeg/{row}.npy", 30 + row, 20.5, row]
        for row in range(4)
    ]
    for (row, column), value in changes.get("cells", {}).items():
        table[row][HEADER.index(column)] = value
    return table


def written(folder, cells=None, header=HEADER):
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows(cells=cells or {})])
    return path


def test_a_csv_of_files_and_features(folder):
    data = xd.PairedDataset.from_table(written(folder), columns=COLUMNS, **FIELDS)
    assert data.classes == ("N1", "W") and data.target.tolist() == [0, 1, 0, 1]
    assert data.group_names == ("s0", "s1") and data.ids == ("e0", "e1", "e2", "e3")
    assert data.start_s.tolist() == [0, 1, 2, 3]
    assert data.read("eeg", 3).tolist() == [[3] * 5] and data.read("eeg", 3).dtype == torch.float32
    assert data.read("tabular", 2).tolist() == [32, 20.5]
    (folder / "eeg/3.npy").unlink()  # a file is read when its row is
    with pytest.raises(ValueError, match=r"3.npy cannot be read .FileNotFoundError"):
        data.read("eeg", 3)


def test_a_frame_reads_the_same(folder):
    frame = pd.DataFrame(rows(), columns=HEADER).sort_values("name", ascending=False)
    data = xd.PairedDataset.from_table(frame, columns=COLUMNS, root=folder, **FIELDS)
    assert data.ids == ("e3", "e2", "e1", "e0")
    assert data.read("eeg", 0).tolist() == [[3] * 5]


def test_gaps(folder):
    cells = {(1, "eeg"): "", (2, "age"): "", (2, "bmi"): "", (3, "stage"): ""}
    data = xd.PairedDataset.from_table(written(folder, cells), columns=COLUMNS, **FIELDS)
    assert data.valid["eeg"].tolist() == [True, False, True, True]
    assert data.valid["tabular"].tolist() == [True, True, False, True]
    assert data.target.tolist() == [0, 1, 0, -1]


def test_numbers_as_classes(folder):
    cells = {(row, "stage"): value for row, value in enumerate(["1", "", "0", "1"])}
    table = written(folder, cells)
    data = xd.PairedDataset.from_table(table, columns=COLUMNS, classes=("W", "N1"), **FIELDS)
    assert data.target.tolist() == [1, -1, 0, 1]
    with pytest.raises(ValueError, match="does not know what its classes are called"):
        xd.PairedDataset.from_table(table, columns=COLUMNS, **FIELDS)


def test_readers(folder):
    (folder / "film.txt").write_text("3 4")
    cells = {(row, "eeg"): "film.txt" for row in range(4)}
    options = {"columns": COLUMNS, **FIELDS}
    with pytest.raises(ValueError, match=r"eeg: files of kind .txt need a reader; pass readers="):
        xd.PairedDataset.from_table(written(folder, cells), **options)
    readers = {"eeg": lambda path: [float(one) for one in path.read_text().split()]}
    data = xd.PairedDataset.from_table(written(folder, cells), readers=readers, **options)
    assert data.read("eeg", 1).tolist() == [3, 4]
    with pytest.raises(ValueError, match=r"readers names \['ecg'\], expected modalities"):
        xd.PairedDataset.from_table(written(folder, cells), readers={"ecg": print}, **options)


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        ({(1, "eeg"): "eeg/9.npy"}, FileNotFoundError, r"1 of 4 files are missing .*9.npy"),
        ({(1, "eeg"): "../x.npy"}, ValueError, r"row 1 names '../x.npy', which is outside of"),
        ({(1, "eeg"): "/etc/passwd"}, ValueError, "outside of"),
        ({(1, "age"): "old"}, ValueError, "column age: row 1 holds 'old', expected a number"),
        ({(1, "age"): ""}, ValueError, "column age: row 1 holds '', expected a number"),
        ({(1, "sleeper"): ""}, ValueError, "group of row 1 is missing"),
        ({(1, "name"): ""}, ValueError, "ids of row 1 is missing"),
        ({(1, "name"): "e0"}, ValueError, "rows 0 and 1 have the same id 'e0'"),
        ({(1, "start"): "nan"}, ValueError, "start_s .*row 1"),
        ({(1, "start"): "noon"}, ValueError, "row 1 starts at 'noon', expected seconds"),
    ],
)
def test_cells_that_cannot_be_meant(folder, cells, error, message):
    with pytest.raises(error, match=message):
        xd.PairedDataset.from_table(written(folder, cells), columns=COLUMNS, **FIELDS)


def test_a_row_that_is_there_twice(folder):
    table = written(folder, {(2, "eeg"): "eeg/0.npy"})
    with pytest.raises(ValueError, match=r"rows 0 and 2 have the same files .*0.npy"):
        xd.PairedDataset.from_table(table, columns={"eeg": "eeg"}, **FIELDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows"),
        (b"name,stage\n", "has no rows"),
        (b"name,name\na,b\n", "names a column twice"),
        (b"name,stage\na,b,c\n", r"row 2 has 3 cells, expected 2"),
        ("name,stage\nü,b\n".encode("latin-1"), "is not in UTF-8"),
    ],
)
def test_a_damaged_table(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        xd.PairedDataset.from_table(path, columns={"eeg": "eeg"}, target="stage")


def test_columns_that_are_not_there(folder):
    with pytest.raises(ValueError, match=r"has no column \['label', 'ecg'\]; its columns are"):
        xd.PairedDataset.from_table(written(folder), columns={"eeg": "ecg"}, target="label")
    with pytest.raises(TypeError, match="path of a CSV file or a pandas DataFrame, got list"):
        xd.PairedDataset.from_table([1], columns={"eeg": "ecg"}, target="label")


def test_a_dataset_shows_what_it_holds(folder):
    cells = {(1, "eeg"): "", (3, "stage"): ""}
    data = xd.PairedDataset.from_table(written(folder, cells), columns=COLUMNS, **FIELDS)
    outputs = xd.Outputs(torch.zeros(4, 8), torch.zeros(4, 2))
    assert repr(data.replace(cached={"ecg": outputs})) == (
        "PairedDataset(\n"
        "  4 rows, 2 groups (s0, s1)\n"
        "  2 classes (N1 2, W 1), 3 of 4 rows labelled\n"
        "  eeg: [1, 5] float32, missing in 1 rows\n"
        "  tabular: [2] float32, in all rows\n"
        "  ecg: cached embedding [8], logits [2]\n"
        ")"
    )
    for row in (0, 2, 3):
        (folder / f"eeg/{row}.npy").write_bytes(b"")
    assert "eeg: unreadable (ValueError: " in repr(data.subset([0, 1, 2]))
    splits = xd.Splits(data, data, data)
    assert repr(splits).startswith("Splits(\n  train=PairedDataset(\n    4 rows")
    several = data.replace(target=[[1, 0], [1, 1], [-1, -1], [0, 0]])
    assert "2 classes, several a row (N1 2, W 1), 3 of 4 rows labelled" in repr(several)
