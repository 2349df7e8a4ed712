"""Outputs of a teacher that is not here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import xdistill as xd
from tests.toy import CLASSES, ToyEncoder, toy_data, toy_encoders

ROWS = 12


def data() -> xd.PairedDataset:
    given = toy_data(ROWS)
    return given.replace(inputs={"cheap": given.inputs["cheap"]}, ids=[f"r{i}" for i in range(12)])


def probabilities(rows: int = ROWS) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(1)).softmax(dim=1)


def logits_losses() -> list[str]:
    """Those that read logits alone of the outputs, and compare with a teacher."""
    made = {name: xd.create_loss(name) for name in xd.list_losses()}
    return [
        name
        for name, loss in made.items()
        if not loss.task and not {"embedding", "hidden"} & set(loss.inputs)
    ]


@pytest.mark.parametrize("name", logits_losses())
def test_every_loss_on_logits_is_as_with_the_teachers_own_logits(name):
    """A softmax hides what is added to a row's logits; only logit_mse and lskd could see it."""
    logits = 3 * torch.randn(ROWS, 3)
    logits = logits.log_softmax(dim=1)
    student = ToyEncoder("cheap", 6).eval()
    values = []
    for given in ({"probabilities": logits.softmax(dim=1)}, {"logits": logits}):
        loader = xd.paired_loader(xd.precomputed(data(), "rich", **given), ROWS)
        distiller = xd.Distiller(student, None, xd.create_loss(name)).eval()
        step = distiller(next(iter(loader)))
        values.append(step.loss)
        assert set(step.teachers) == {"rich"}
    teacher = xd.Outputs(torch.zeros(ROWS, 1), logits)
    batch = next(iter(loader))
    own = xd.create_loss(name)(student(batch.inputs["cheap"]), teacher, batch.target)
    torch.testing.assert_close(values[1], own)
    torch.testing.assert_close(values[0], own, rtol=1e-4, atol=1e-5)


def test_rows_are_found_by_their_names_and_others_have_no_teacher():
    given, order = probabilities(), torch.randperm(ROWS)
    names = [f"r{row}" for row in order.tolist()]
    found = xd.precomputed(data(), "rich", probabilities=given[order], ids=[*names])
    assert bool(found.valid["rich"].all())
    torch.testing.assert_close(found.cached["rich"].logits.softmax(dim=1), given)
    part = data().subset([3, 7])
    found = xd.precomputed(part, "rich", probabilities=given[order], ids=names)
    torch.testing.assert_close(found.cached["rich"].logits.softmax(dim=1), given[[3, 7]])
    with pytest.warns(UserWarning, match=r"2 of 12 rows have no outputs of rich \(first: r"):
        found = xd.precomputed(data(), "rich", probabilities=given[order][:10], ids=names[:10])
    assert int(found.valid["rich"].sum()) == 10


def test_a_row_of_nan_has_no_teacher():
    given = probabilities()
    given[4] = math.nan
    embedding = torch.randn(ROWS, 5)
    embedding[6] = math.nan
    found = xd.precomputed(data(), "rich", probabilities=given, embedding=embedding)
    assert found.valid["rich"].logical_not().nonzero().flatten().tolist() == [4, 6]
    assert torch.isfinite(found.cached["rich"].logits).all()
    assert not found.cached["rich"].embedding[[4, 6]].any()
    batch = next(iter(xd.paired_loader(found, ROWS)))
    loss = xd.KD() + xd.RKD() + xd.SACD(dim=4)
    distiller = xd.Distiller(ToyEncoder("cheap", 6), None, loss, example=batch)
    step = distiller(batch)
    assert torch.isfinite(step.loss) and {"kd", "rkd", "sacd"} <= set(step.terms)


def test_a_probability_of_zero_is_no_infinity():
    given = torch.eye(3)[torch.arange(ROWS) % 3]
    found = xd.precomputed(data(), "rich", probabilities=given)
    step = xd.Distiller(ToyEncoder("cheap", 6), "rich", xd.KD(1.0), example=_batch(found))
    value = step(_batch(found)).loss
    assert torch.isfinite(value)


def _batch(dataset: xd.PairedDataset) -> xd.PairedBatch:
    return next(iter(xd.paired_loader(dataset, ROWS)))


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "csv with names", "safetensors", "list"])
def test_outputs_come_from_arrays_and_files(kind, tmp_path):
    given = probabilities()
    path = tmp_path / f"outputs.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, given.numpy().astype(np.float64))
    elif kind == "npz":
        np.savez(path, probabilities=given.numpy(), embedding=np.ones((ROWS, 2)))
    elif kind == "safetensors":
        save_file({"probabilities": given, "other": torch.ones(2)}, path)
    elif kind.startswith("csv"):
        header = ",".join(CLASSES) if kind != "csv" else ""
        np.savetxt(path, given.numpy(), delimiter=",", header=header, comments="")
        if kind == "csv":
            path.write_text(path.read_text().lstrip("\n"))
    found = xd.precomputed(
        data(), "rich", probabilities=given.tolist() if kind == "list" else str(path)
    )
    torch.testing.assert_close(found.cached["rich"].logits.softmax(dim=1), given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "probabilities or logits.*none of them"),
        ({"probabilities": probabilities(), "logits": probabilities()}, "probabilities or logits"),
        ({"probabilities": probabilities(11)}, "11 rows, the dataset 12; pass ids="),
        ({"probabilities": 100 * probabilities()}, "row r0 are .*sum to 1"),
        ({"probabilities": torch.randn(ROWS, 3)}, "row r0 are .*as logits"),
        ({"logits": torch.randn(ROWS, 4)}, "4 columns, the dataset 3 classes"),
        ({"logits": torch.full((ROWS, 3), math.inf)}, "r0 is NaN in part or infinite"),
        ({"logits": torch.full((ROWS, 3), math.nan)}, "no row .* has outputs of rich"),
        ({"logits": torch.zeros(ROWS)}, r"must be real numbers \[M, K\]"),
        ({"logits": "x.parquet"}, "expected a .npy, .npz, .csv"),
        ({"logits": torch.zeros(ROWS, 3), "ids": ["r0"] * ROWS}, "ids name 'r0' twice"),
        ({"logits": torch.zeros(ROWS, 3), "ids": list(range(ROWS))}, "'0'.*'r0': none is in both"),
        ({"logits": torch.zeros(ROWS, 3), "embedding": torch.zeros(3, 2)}, "one number of rows"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        xd.precomputed(data(), "rich", **options)


def test_a_file_without_the_array_names_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.ones((12, 3)), two=np.ones((12, 3)))
    with pytest.raises(ValueError, match=r"holds \['one', 'two'\] and no 'logits'"):
        xd.precomputed(data(), "rich", logits=tmp_path / "a.npz")
    (tmp_path / "a.csv").write_text("a,b\n1,2\nx,3\n")
    with pytest.raises(ValueError, match="a.csv holds something else"):
        xd.precomputed(data(), "rich", logits=tmp_path / "a.csv")


def test_a_student_is_never_its_own_teacher():
    """CE + DIST + SACD over a cached dataset used to train on the student's own outputs."""
    student, teacher = toy_encoders(teacher_dim=5)
    cached = xd.cache_teacher(toy_data(), teacher, "rich")
    batch = _batch(cached)
    loss = xd.CrossEntropy() + xd.DIST() + xd.SACD(dim=4)
    with pytest.raises(ValueError, match="sacd compares with a teacher.*example="):
        xd.Distiller(student, None, loss)
    found = xd.Distiller(student, None, loss, example=batch).eval()
    torch.manual_seed(0)
    step = found(batch)
    assert torch.equal(step.teachers["rich"].embedding, batch.cached["rich"].embedding)
    bare = xd.PairedBatch(batch.inputs, batch.target)
    with pytest.raises(ValueError, match="there is none, and the batch holds outputs of none"):
        xd.Distiller(student, None, xd.KD())(bare)
    two = xd.PairedBatch(batch.inputs, batch.target, cached={**batch.cached, "b": step.student})
    with pytest.raises(ValueError, match=r"\['b', 'rich'\].*pass a teacher"):
        xd.Distiller(student, None, xd.KD())(two)
    named = xd.Distiller(student, "rich", xd.KD(), example=two).eval()(two)
    torch.testing.assert_close(named.loss, xd.KD()(named.student, batch.cached["rich"]))
    with pytest.raises(ValueError, match="precomputed, but the batch holds none"):
        xd.Distiller(student, "rich", xd.KD(), example=two)(_batch(toy_data()))
    with pytest.raises(ValueError, match="no teacher 'c'"):
        xd.Distiller(student, "c", xd.KD(), example=two)
    with pytest.raises(ValueError, match="pass example="):
        xd.Distiller(student, "rich", xd.KD())


def test_no_embedding_is_no_embedding():
    batch = _batch(xd.precomputed(data(), "rich", probabilities=probabilities()))
    student = ToyEncoder("cheap", 6)
    with pytest.raises(ValueError, match="rkd compares embeddings, but the outputs of 'rich' have"):
        xd.Distiller(student, None, xd.RKD(), example=batch)
    outputs = student(batch.inputs["cheap"])
    with pytest.raises(ValueError, match="cka compares embeddings, but .*width 0"):
        xd.CKA()(outputs, batch.cached["rich"])


def test_fit_trains_on_them():
    train = xd.precomputed(data(), "rich", probabilities=probabilities())
    distiller = xd.Distiller(ToyEncoder("cheap", 6), None, xd.CrossEntropy() + xd.KD())
    result = xd.fit(distiller, xd.paired_loader(train, 6), max_epochs=2, enable_progress_bar=False)
    assert {"train/kd", "train/cross_entropy"} <= set(result.history[-1])
