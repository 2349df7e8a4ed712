"""What `fit` does with datasets of any kind, with bad rows, and with rows that lack the student."""

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
from tests.toy import CLASSES, ToyEncoder, toy_data, toy_encoders
from xdistill.data.checked import check_loader
from xdistill.data.paired import PairedDataset
from xdistill.metrics import predict

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "max_epochs": 1}
NAN = float("nan")


def distiller(loss=None) -> xd.Distiller:
    student, teacher = toy_encoders()
    return xd.Distiller(student, teacher, loss or xd.CrossEntropy() + xd.KD())


def poisoned(rows=(1, 7)) -> PairedDataset:
    data = toy_data(24)
    data.inputs["rich"][list(rows)] = NAN
    return data


class Samples(Dataset):
    def __init__(self, data, index=None):
        self.data, self.index = data, index or (lambda row: row)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        sample = self.data[row]
        return xd.PairedSample(
            sample.inputs, sample.target, sample.valid, self.index(row), sample.group
        )


@pytest.mark.parametrize("plain", [False, True])
def test_bad_teacher_rows_of_a_split_are_trained_without(plain):
    data = poisoned()
    part, _ = random_split(data, [20, 4], generator=torch.Generator().manual_seed(0))
    bad = sum(row in (1, 7) for row in part.indices)
    loader = DataLoader(part, 8, shuffle=True) if plain else xd.paired_loader(part, 8, shuffle=True)
    given = distiller()
    with pytest.warns(
        UserWarning, match=f"train: {bad} of 20 rows .* have NaN or infinity in rich"
    ):
        result = xd.fit(given, loader, **QUIET)
    assert torch.tensor(result.history[-1]["train/loss"]).isfinite()
    assert not data.valid  # the caller's dataset is as it was


def test_masks_are_the_callers_again_when_the_check_fails():
    data = poisoned()
    val = toy_data(6)
    val.inputs["cheap"][0] = NAN
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="val: 1 of 6 rows"):
        xd.fit(distiller(), xd.paired_loader(data, 8), xd.paired_loader(val, 3), **QUIET)
    assert not data.valid


def test_bad_rows_of_a_plain_dataset_cannot_be_marked():
    loader = DataLoader(Samples(poisoned()), 8, collate_fn=xd.collate)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="rows of a Samples cannot be"):
        xd.fit(distiller(), loader, **QUIET)
    with pytest.warns(UserWarning, match="train: 2 of 24 rows"):
        xd.fit(distiller(), xd.paired_loader(Samples(poisoned()), 8), **QUIET)


def test_an_index_that_repeats_is_refused():
    one, two = toy_data(12), toy_data(12, seed=1)
    both = ConcatDataset([one, two.replace(group=two.group + 5)])
    with pytest.raises(ValueError, match="two rows have index 0, so a loss with a memory"):
        xd.fit(distiller(), DataLoader(both, 8), **QUIET)
    with pytest.raises(ValueError, match="two rows have index 0"):
        xd.fit(distiller(), DataLoader(Samples(one, lambda row: 0), 8), **QUIET)
    xd.fit(distiller(), xd.paired_loader(both, 8), **QUIET)
    again = ConcatDataset([Subset(one, [0, 1, 2, 3]), Subset(one, [3, 4, 5, 6])])
    xd.fit(distiller(), DataLoader(again, 4), **QUIET)


def test_rows_that_cannot_be_checked_are_told():
    data = toy_data(24)
    rows = [{"row": row} for row in range(24)]

    def own(rows):
        return xd.collate([data[one["row"]] for one in rows])

    loader = DataLoader(rows, 8, collate_fn=own)
    with pytest.warns(UserWarning, match="train: the rows are not checked .*check_data=False"):
        xd.fit(distiller(), loader, **QUIET)
    xd.fit(distiller(), loader, check_data=False, **QUIET)
    with pytest.raises(TypeError, match="rows of list are dicts with the keys .*; say which"):
        xd.fit(distiller(), DataLoader(rows, 2), **QUIET)


def test_a_stream_cannot_be_checked():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.warns(UserWarning, match="not checked before .* a Stream has no length and rows"):
        assert check_loader(DataLoader(Stream()), "cheap", lambda _: (), [], "train") is None


def test_classes_in_another_order_are_refused():
    train, val = toy_data(12), toy_data(12).replace(classes=("b", "a", "c"))
    with pytest.raises(ValueError, match=r"train has the classes .'a', 'b', 'c'. and val"):
        xd.fit(distiller(), xd.paired_loader(train, 4), xd.paired_loader(val, 4), **QUIET)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            "distiller",
            "dataset",
            "train_loader is a PairedDataset, expected a DataLoader; pass",
        ),
        (
            "student",
            "loader",
            "fit trains an xd.Distiller, got a network .ToyEncoder.; pass",
        ),
        ("dataset", "loader", "fit trains an xd.Distiller, got a PairedDataset"),
    ],
)
def test_arguments_in_the_wrong_place(first, second, message):
    data = toy_data(6)
    given = {
        "distiller": distiller(),
        "student": toy_encoders()[0],
        "dataset": data,
        "loader": xd.paired_loader(data, 3),
    }
    with pytest.raises(TypeError, match=message):
        xd.fit(given[first], given[second], **QUIET)


def lacking(rows=24, lack=(0, 5, 6, 7)) -> PairedDataset:
    data = toy_data(rows)
    return data.replace(valid={"cheap": [row not in lack for row in range(rows)]})


def test_rows_without_the_student_are_left_out_of_its_losses():
    """The loss of a batch is that of its other rows, with BatchNorm's statistics."""
    data = lacking()
    given, other = distiller(), distiller()
    for one in (given, other):
        one.student.dropout.p = 0.0
    (whole,) = xd.paired_loader(data, 24)
    (rest,) = xd.paired_loader(data.subset(data.rows_with("cheap")), 24)
    first, second = given(whole), other(rest)
    torch.testing.assert_close(first.loss, second.loss)
    first.loss.backward()
    second.loss.backward()
    for mine, theirs in zip(given.student.parameters(), other.student.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(given.student.norm.running_var, other.student.norm.running_var)


@pytest.mark.parametrize("loss", [xd.SACD(dim=4, bank_size=16), xd.KHN(dim=4), xd.CRD(dim=4)])
def test_losses_of_the_shared_space_leave_them_out_too(loss):
    data = lacking()
    data.inputs["cheap"][[0, 5, 6, 7]] = NAN  # what such a row holds reaches nothing
    given = distiller(xd.CrossEntropy() + loss)
    for batch in xd.paired_loader(data, 8, shuffle=True):
        step = given(batch)
        assert step.loss.isfinite()
        step.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in given.parameters())


def test_a_batch_in_which_no_row_has_the_student():
    given = distiller()
    (batch,) = xd.paired_loader(lacking(lack=range(24)).replace(
        inputs={"cheap": torch.zeros(24, 6), "rich": torch.randn(24, 3)}), 24)  # fmt: skip
    batch.inputs["cheap"] = torch.zeros(24, 6)
    before = given.student.norm.running_mean.clone()
    step = given(batch)
    step.loss.backward()
    assert step.loss == 0 and torch.equal(given.student.norm.running_mean, before)


def test_metrics_leave_them_out():
    data = lacking(lack=range(12))
    given = distiller()
    with pytest.warns(UserWarning, match="12 of 24 rows .* have no cheap; they are left out"):
        result = xd.fit(
            given, xd.paired_loader(toy_data(24), 8), xd.paired_loader(data, 8), **QUIET
        )
    rest = data.subset(range(12, 24))
    expected = predict(given.student, xd.paired_loader(rest, 8), len(CLASSES))
    found = predict(given.student, xd.paired_loader(data, 8), len(CLASSES))
    assert result.history[-1]["val/accuracy"] == pytest.approx(expected.scores.accuracy)
    assert found.scores == expected.scores
    assert found.target.tolist() == [-1] * 12 + expected.target.tolist()


def test_two_teachers_of_one_modality_share_its_column(tmp_path):
    data = toy_data(24).replace(valid={"rich": [row != 3 for row in range(24)]})
    torch.manual_seed(1)
    teachers = {"small": ToyEncoder("rich", 3, 4), "large": ToyEncoder("rich", 3, 16)}
    losses = {"small": xd.CrossEntropy() + xd.KD(), "large": xd.KD()}
    student = toy_encoders()[0]
    student.dropout.p = 0.0
    given = xd.Distiller(student, teachers, losses)
    (batch,) = xd.paired_loader(data, 24)
    step = given(batch)
    for name, teacher in teachers.items():
        expected = teacher.eval()(batch.inputs["rich"][batch.valid["rich"]])
        torch.testing.assert_close(step.teachers[name].logits[batch.valid["rich"]], expected.logits)
    cached = data
    for name, teacher in teachers.items():
        cached = xd.cache_teacher(cached, teacher, "rich", name=name, root=tmp_path)
    assert cached.modalities == ("cheap", "rich") and set(cached.cached) == {"small", "large"}
    (batch,) = xd.paired_loader(cached, 24)
    again = given(batch)
    torch.testing.assert_close(again.loss, step.loss)
    assert again.terms.keys() == step.terms.keys()
    xd.fit(given, xd.paired_loader(data, 8), **QUIET)
    data.inputs["rich"][0] = NAN
    with pytest.warns(UserWarning, match="1 of 24 rows .* have NaN or infinity in rich"):
        xd.fit(given, xd.paired_loader(data, 8), **QUIET)
