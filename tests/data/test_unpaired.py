"""Batches whose teacher rows are other samples than the student's."""

from __future__ import annotations

import copy

import pytest
import torch

import xdistill as xd
from tests.losses.batches import bound_loss, random_batch, step
from tests.toy import ToyEncoder, toy_data, toy_encoders
from xdistill.registry import losses
from xdistill.types import Outputs


def one_sided(name: str, rows: int, seed: int, **changes) -> xd.PairedDataset:
    whole = toy_data(rows, seed=seed)
    return whole.replace(inputs={name: whole.inputs[name]}, **changes)


def loader(rows: int = 60, teachers: int = 90, **options):
    options = {"shuffle": True, **options}
    theirs = one_sided("rich", teachers, seed=5)
    return xd.unpaired_loader(one_sided("cheap", rows, seed=4), theirs, "rich", 12, **options)


def test_a_batch_has_all_of_the_students_rows_and_random_rows_of_the_teacher():
    batches = list(loader())
    index = torch.cat([batch.index for batch in batches])
    assert sorted(index.tolist()) == list(range(60))
    theirs = one_sided("rich", 90, seed=5)
    for batch in batches:
        assert isinstance(batch, xd.UnpairedBatch) and len(batch) == 12
        for row, label in zip(batch.inputs["rich"], batch.teacher_target, strict=True):
            (found,) = (theirs.inputs["rich"] == row).all(dim=1).nonzero().flatten().tolist()
            assert theirs.target[found] == label
    drawn = torch.cat([batch.teacher_target for batch in batches])
    assert not torch.equal(drawn, torch.cat([batch.target for batch in batches]))


def test_teacher_rows_without_the_modality_are_not_drawn():
    has = torch.arange(40) % 4 == 0
    theirs = one_sided("rich", 40, seed=5, valid={"rich": has})
    allowed = theirs.inputs["rich"][has]
    for batch in xd.unpaired_loader(one_sided("cheap", 24, seed=4), theirs, "rich", 12):
        assert "rich" not in batch.valid  # every row has its teacher
        for row in batch.inputs["rich"]:
            assert (allowed == row).all(dim=1).any()


def test_the_students_own_teacher_inputs_are_left_out():
    batch = next(iter(xd.unpaired_loader(toy_data(24), one_sided("rich", 8, 5), "rich", 12)))
    pool = one_sided("rich", 8, 5).inputs["rich"]
    assert all((pool == row).all(dim=1).any() for row in batch.inputs["rich"])


def test_cached_outputs_of_the_teacher():
    theirs = one_sided("rich", 30, seed=5)
    theirs = theirs.replace(cached={"rich": Outputs(theirs.inputs["rich"] * 2)})
    batch = next(iter(xd.unpaired_loader(one_sided("cheap", 24, seed=4), theirs, "rich", 12)))
    torch.testing.assert_close(batch.cached["rich"].embedding, 2 * batch.inputs["rich"])


def test_a_map_keeps_what_it_is():
    batch = next(iter(loader()))
    assert isinstance(batch.to("cpu"), xd.UnpairedBatch)
    half = batch.map(lambda x: x[:3])
    assert len(half) == 3 and len(half.teacher_target) == 3


def test_teachers_without_rows_are_refused():
    ours = one_sided("cheap", 24, seed=4)
    with pytest.raises(ValueError, match=r"neither inputs nor cached outputs of 'rich'.*\['cheap'"):
        xd.unpaired_loader(ours, ours, "rich", 12)
    none = one_sided("rich", 24, seed=5, valid={"rich": torch.zeros(24, dtype=torch.bool)})
    with pytest.raises(ValueError, match="no row of the teacher's dataset has 'rich'"):
        xd.unpaired_loader(ours, none, "rich", 12)


def test_every_loss_that_compares_rows_refuses_such_a_batch():
    student, teacher = toy_encoders()
    batch, kept = next(iter(loader())), []
    for name in ("kd", "infonce", "sp", "cmd", "ucmkd", "cka", "dist", "crd"):
        distiller = xd.Distiller(
            student, teacher, xd.CrossEntropy() + xd.create_loss(name), num_samples=60
        )
        if losses.get(name).unpaired:
            distiller(batch).loss.backward()
            kept.append(name)
        else:
            with pytest.raises(ValueError, match=f"{name} compares a row of the student with"):
                distiller(batch)
    assert kept == ["cmd", "ucmkd"]


UNPAIRED = [name for name in xd.list_losses() if losses.get(name).unpaired]


@pytest.mark.parametrize("name", UNPAIRED)
def test_a_loss_for_unpaired_rows_does_not_see_their_order(name):
    """`Loss.unpaired` is a promise: the teacher's rows may come in any order."""
    batch = random_batch()
    mixed = batch.change(teacher=batch.teacher.rows(torch.tensor([3, 0, 5, 1, 4, 2])))
    first, second = (step(bound_loss(name), one) for one in (batch, mixed))
    torch.testing.assert_close(second.value, first.value)
    torch.testing.assert_close(second.embedding, first.embedding)


def test_a_teacher_that_trains_learns_its_own_rows_labels():
    student, teacher = toy_encoders()
    distiller = xd.Distiller(
        student, teacher, xd.CrossEntropy() + xd.UCMKD(), train_teacher=True
    ).eval()
    batch = next(iter(loader()))
    out = distiller(batch)
    expected = xd.CrossEntropy()(out.teachers["rich"], out.teachers["rich"], batch.teacher_target)
    torch.testing.assert_close(out.terms["teacher/rich"], expected.detach())
    batch.teacher_target = None
    with pytest.raises(ValueError, match="the batch has no targets of its rows"):
        distiller(batch)


def test_fit_trains_on_unpaired_rows():
    torch.manual_seed(0)
    student, teacher = toy_encoders()
    loss = xd.CrossEntropy() + xd.UCMKD(classifier=teacher.classifier)
    distiller = xd.Distiller(student, teacher, loss)
    before = copy.deepcopy(student.state_dict())
    val = xd.paired_loader(toy_data(30, seed=9), 10)
    result = xd.fit(distiller, loader(), val, max_epochs=3, lr=0.01, enable_progress_bar=False)
    assert result.best_value > 0.4
    assert any((before[name] != x).any() for name, x in student.state_dict().items())


def test_fit_is_the_same_each_time():
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        student, teacher = ToyEncoder("cheap", 6), ToyEncoder("rich", 3)
        distiller = xd.Distiller(student, teacher, xd.CrossEntropy() + xd.CMD())
        xd.fit(distiller, loader(), max_epochs=2, seed=3, enable_progress_bar=False)
        states.append(student.state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_fit_audits_the_teachers_rows_too():
    student, teacher = toy_encoders()
    theirs = one_sided("rich", 30, seed=5)
    theirs.inputs["rich"][4] = torch.nan
    train = xd.unpaired_loader(one_sided("cheap", 24, seed=4), theirs, "rich", 12)
    distiller = xd.Distiller(student, teacher, xd.CrossEntropy() + xd.UCMKD())
    with pytest.raises(ValueError, match="teacher rows"):
        xd.fit(distiller, train, max_epochs=1, enable_progress_bar=False)
