"""Datasets of other libraries as paired ones: views, dicts, samples, Hugging Face's."""

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    random_split,
)

import xdistill as xd
from tests.toy import toy_data, toy_encoders
from xdistill.data.any_dataset import as_paired


class Dicts(Dataset):
    """Rows as a user's dataset returns them, and which were read."""

    def __init__(self, rows=6, lack=()):
        self.read = []
        self.rows = [
            {
                "eeg_uv": None if row in lack else np.full((1, 4), row, np.float64),
                "film": torch.full((2,), float(row)),
                "stage": "W" if row % 2 else "N1",
                "sleeper": f"s{row // 2}",
            }
            for row in range(rows)
        ]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        self.read.append(row)
        return self.rows[row]


class Samples(Dataset):
    """Rows as PairedSamples, with an index that the user did not think about."""

    def __init__(self, rows=6, noise=False):
        self.rows, self.noise, self.read = rows, noise, []

    def __len__(self):
        return self.rows

    def __getitem__(self, row):
        self.read.append(row)
        extra = torch.randn(3) if self.noise else torch.zeros(3)
        inputs = {"rich": torch.full((3,), float(row)) + extra, "cheap": torch.full((6,), -row)}
        if row == 1:
            del inputs["rich"]
        return xd.PairedSample(inputs, row % 3, {"rich": row != 1}, index=0, group=row // 2)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([1, 2])


FIELDS = {"inputs": {"eeg": "eeg_uv", "video": "film"}, "target": "stage", "group": "sleeper"}


def index_of(loader) -> list[int]:
    return torch.cat([batch.index for batch in loader]).tolist()


def test_a_view_of_a_view_is_numbered_anew():
    data = toy_data(30)
    first, second = random_split(data, [20, 10], generator=torch.Generator().manual_seed(0))
    inner = Subset(first, [7, 3, 5])
    paired = as_paired(inner)
    assert paired.ids == tuple(data.ids[first.indices[row]] for row in (7, 3, 5))
    assert torch.equal(paired[1].inputs["rich"], inner[1].inputs["rich"])
    assert index_of(xd.paired_loader(inner, 2)) == [0, 1, 2]
    both = as_paired(ConcatDataset([second, Subset(first, [0])]))
    assert both.ids == tuple(data.ids[row] for row in [*second.indices, first.indices[0]])
    assert as_paired(data) is data


def test_two_datasets_after_each_other_do_not_share_an_index():
    one, two = toy_data(12), toy_data(12, seed=1)
    two = two.replace(group=two.group + 10)
    joined = as_paired(ConcatDataset([one, Subset(two, [3, 1])]))
    assert index_of(xd.paired_loader(joined, 4)) == list(range(14))
    assert joined[13].group == 10
    assert torch.equal(joined[12].inputs["cheap"], two[3].inputs["cheap"])
    with pytest.raises(ValueError, match=r"2 groups are in several .*same_groups=True.*=False"):
        xd.paired_loader(ConcatDataset([one, toy_data(12, seed=1)]), 4)


def test_dicts_are_read_lazily():
    rows = Dicts(lack=(2,))
    data = xd.PairedDataset.from_rows(rows, **FIELDS)
    assert data.classes == ("N1", "W") and data.group_names == ("s0", "s1", "s2")
    assert data.valid["eeg"].tolist() == [True, True, False, True, True, True]
    rows.read.clear()
    sample = data[4]
    assert rows.read == [4]  # once for both modalities
    assert sample.inputs["eeg"].dtype == torch.float32 and sample.inputs["eeg"][0, 0] == 4
    (batch,) = xd.paired_loader(data, 6)
    assert batch.inputs["eeg"][:, 0, 0].tolist() == [0, 1, 0, 3, 4, 5]
    assert batch.target.tolist() == [0, 1] * 3


def test_dicts_alone_do_not_say_what_they_are():
    message = (
        r"rows of Dicts are dicts with the keys \['eeg_uv', 'film', 'sleeper', 'stage'\]; .*"
        r"PairedDataset.from_rows\(dataset, inputs="
    )
    for call in (as_paired, lambda rows: xd.paired_loader(rows, 2), lambda rows: xd.audit(rows),
                 lambda rows: xd.cache_teacher(rows, toy_encoders()[1], "rich")):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            call(Dicts())
        with pytest.raises(TypeError, match=message):
            call(Subset(Dicts(), [0]))
    with pytest.raises(TypeError, match="xd.collate stacks PairedSamples, got dict with the keys"):
        next(iter(DataLoader(Dicts(), 2, collate_fn=xd.collate)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "label"}, "rows have no 'label'; their keys are"),
        ({"inputs": ("eeg",)}, "rows have no 'eeg'"),
    ],
)
def test_keys_that_rows_do_not_have(changes, message):
    with pytest.raises(ValueError, match=message):
        xd.PairedDataset.from_rows(Dicts(), **{**FIELDS, **changes})


def test_other_rows_and_streams_are_told():
    with pytest.raises(TypeError, match="a Stream has no length and rows"):
        as_paired(Stream())
    with pytest.raises(TypeError, match="rows of TensorDataset are of type tuple, expected Paired"):
        as_paired(torch.utils.data.TensorDataset(torch.zeros(3, 2)))
    with pytest.raises(TypeError, match="row 0 of list is a int, expected a dict"):
        xd.PairedDataset.from_rows([1, 2], inputs=("a",), target="b")


def test_samples_of_a_plain_dataset(tmp_path):
    rows = Samples()
    data = as_paired(rows)
    assert data.classes == ("0", "1", "2") and data.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.valid["rich"].tolist() == [True, False, True, True, True, True]
    assert index_of(xd.paired_loader(rows, 4)) == list(range(6))
    (batch,) = xd.paired_loader(rows, 6)
    assert batch.inputs["rich"][:, 0].tolist() == [0, 0, 2, 3, 4, 5]
    cached = xd.cache_teacher(Subset(rows, [0, 2]), toy_encoders()[1], "rich", root=tmp_path)
    assert len(cached) == 2 and cached.cached["rich"].logits.shape == (2, 3)


def test_a_random_transform_inside_a_dataset_is_still_found(tmp_path):
    with pytest.raises(ValueError, match="reading one row of rich twice gave different values"):
        xd.cache_teacher(Samples(noise=True), toy_encoders()[1], "rich", root=tmp_path)


def test_a_row_that_lacks_what_others_bring_is_not_taken_for_zeros():
    have = xd.PairedSample({"eeg": torch.ones(2)}, 0, {}, 0, 0)
    lacks = xd.PairedSample({}, 0, {}, 1, 0)
    batch = xd.collate([have, lacks])
    assert batch.valid["eeg"].tolist() == [True, False]


def test_a_plain_data_loader_collates_paired_samples():
    data = toy_data(6).replace(valid={"rich": [False, False, True, True, True, True]})
    for dataset in (data, Subset(data, range(6)), Samples()):
        loader = DataLoader(dataset, 2)
        batches = list(loader)
        assert all(isinstance(batch, xd.PairedBatch) for batch in batches)
        assert sum(len(batch) for batch in batches) == 6
    first = next(iter(DataLoader(data, 2)))
    assert first.inputs["rich"].tolist() == [[0] * 3] * 2 and not first.valid["rich"].any()


def test_samplers_of_ones_own():
    data = toy_data(6)
    assert index_of(xd.paired_loader(data, 2, sampler=[5, 1, 1])) == [5, 1, 1]
    batches = list(xd.paired_loader(data, batch_sampler=[[0, 3], [2]]))
    assert [batch.index.tolist() for batch in batches] == [[0, 3], [2]]
    weighted = torch.utils.data.WeightedRandomSampler([0, 0, 1, 0, 0, 0], 4)
    assert index_of(xd.paired_loader(data, 2, sampler=weighted)) == [2] * 4


def test_options_of_the_data_loader():
    loader = xd.paired_loader(toy_data(6), 2, num_workers=1, persistent_workers=True)
    assert loader.persistent_workers and len(list(loader)) == 3
    assert not xd.paired_loader(toy_data(6), 2, pin_memory=False).pin_memory
    assert xd.paired_loader(toy_data(6), 2, pin_memory=True).pin_memory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 2, "shuffle": True, "sampler": [0]}, "both choose the order of the rows"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "by itself; leave out batch_size"),
        ({"batch_sampler": [[0]], "shuffle": True}, "by itself; leave out batch_size"),
        ({"batch_sampler": [[0]], "drop_last": True}, "by itself; leave out batch_size"),
        ({}, "needs batch_size, or a batch_sampler"),
    ],
)
def test_two_ways_to_choose_rows(options, message):
    with pytest.raises(ValueError, match=message):
        xd.paired_loader(toy_data(6), **options)


def test_hugging_face_rows():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "eeg_uv": datasets.Array2D((1, 4), "float64"),
            "film": datasets.Sequence(datasets.Value("float32")),
            "stage": datasets.ClassLabel(names=["W", "N1"]),
            "sleeper": datasets.Value("string"),
        }
    )
    rows = Dicts(lack=(2,)).rows
    table = {key: [row[key] for row in rows] for key in rows[0]}
    table["film"] = [film.tolist() for film in table["film"]]
    given = datasets.Dataset.from_dict(table, features=features)
    for chosen in (given, given.with_format("torch"), given.with_format("numpy")):
        data = xd.PairedDataset.from_rows(chosen, **FIELDS)
        assert data.classes == ("W", "N1") and data.target.tolist() == [1, 0] * 3
        assert data.valid["eeg"].tolist() == [True, True, False, True, True, True]
        assert data.read("eeg", 4).tolist() == [[4] * 4]
        assert data.read("eeg", 4).dtype == torch.float32
    shuffled = xd.PairedDataset.from_rows(given.select([5, 2, 0]), **FIELDS)
    assert shuffled.valid["eeg"].tolist() == [True, False, True]
    assert shuffled.read("video", 0).tolist() == [5, 5]
    with pytest.raises(TypeError, match=r"rows of Dataset are dicts .*from_rows"):
        xd.paired_loader(given, 2)
    with pytest.raises(TypeError, match="a IterableDataset has no length"):
        xd.paired_loader(given.to_iterable_dataset(), 2)
