from __future__ import annotations

import pytest
import torch

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from xdistill.losses.fitnet import FitNet, fitnet


def call(loss, batch):
    return loss(batch.student, batch.teacher)


def test_closed_form():
    value = fitnet(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]]))
    torch.testing.assert_close(value, torch.tensor(2.0))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    student, teacher = rows64(6, 5), rows64(6, 5, seed=1)
    pairs = zip(*kept(valid, student.tolist(), teacher.tolist()), strict=True)
    exact = mean([(a - b) ** 2 for s, t in pairs for a, b in zip(s, t, strict=True)])
    close(fitnet(student, teacher, optional(valid)), exact)


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda s, t: fitnet(s, t, valid), rows64(3, 4), rows64(3, 4, seed=1))


def test_the_adapter_maps_the_student_to_the_teacher():
    for loss in (FitNet().bind(8, 5), FitNet(student_dim=8, teacher_dim=5)):
        assert (loss.adapter.in_features, loss.adapter.out_features) == (8, 5)
        assert call(loss, random_batch(teacher_dim=5)).requires_grad
    assert FitNet().bind(8, 8).adapter.weight.shape == (8, 8)
    given = FitNet(student_dim=8, teacher_dim=5)
    adapter = given.adapter
    assert given.bind(8, 5).adapter is adapter


def test_identity_compares_as_it_is():
    batch = random_batch()
    exact = fitnet(batch.student.embedding, batch.teacher.embedding)
    for loss in (FitNet(), FitNet(adapter="identity").bind(8, 8)):
        torch.testing.assert_close(call(loss, batch), exact)
    with pytest.raises(ValueError, match="identity"):
        FitNet(adapter="identity").bind(8, 5)


def test_layers_are_regressed_on_their_shared_axes():
    batch = random_batch()
    loss = bound_loss("fitnet", layers=["early", ("late", "late")])
    assert loss.adapter is None
    assert loss.channel_adapters[0].map.weight.shape == (3, 4)
    # Video [B, C, T, H, W] and EEG [B, C, T]: places are averaged, and time is pooled to the
    # shorter, 6 of 6 and 8, then 3 of 3 and 4.
    value = 0.0
    for adapter, name, length in zip(loss.channel_adapters, ("early", "late"), (6, 3), strict=True):
        ours = batch.student.hidden[name].mean(dim=(3, 4))
        theirs = torch.nn.functional.adaptive_avg_pool1d(batch.teacher.hidden[name], length)
        ours = torch.einsum("bct,ec->bet", ours, adapter.map.weight) + adapter.map.bias[:, None]
        value = value + (ours - theirs).square().mean()
    torch.testing.assert_close(call(loss, batch), value)


def test_layers_where_rows_are_missing():
    batch = random_batch()
    loss = bound_loss("fitnet", layers=["early", "late"])
    valid = torch.tensor([True, False, True, True, False, True])
    missing = batch.change(valid=valid, teacher=batch.teacher.map(torch.clone))
    for tensor in missing.teacher.hidden.values():
        tensor[~valid] = torch.nan
    absent, present = step(loss, batch.rows(valid.nonzero().flatten())), step(loss, missing)
    torch.testing.assert_close(present.value, absent.value)
    torch.testing.assert_close(present.parameters, absent.parameters)
    for name, gradient in present.hidden.items():
        torch.testing.assert_close(gradient[valid], absent.hidden[name])
        assert not gradient[~valid].any()
    none = step(loss, batch.change(valid=torch.zeros_like(valid)))
    assert not any(tensor.any() for tensor in none.tensors().values())


def test_bind_with_layers():
    batch = random_batch()
    with pytest.raises(ValueError, match="bind"):
        call(FitNet(layers=["early"]), batch)
    with pytest.raises(ValueError, match="holds no shapes"):
        FitNet(layers=["early"]).bind(8, 8)
    for options in ({"adapter": "mlp"}, {"student_dim": 8, "teacher_dim": 5}):
        with pytest.raises(ValueError, match="leave those out"):
            FitNet(layers=["early"], **options)
    loss = bound_loss("fitnet", layers=["early"])
    adapters = loss.channel_adapters
    assert loss.bind(batch.student, batch.teacher).channel_adapters is adapters


def test_layers_compile_in_one_graph():
    batch, loss = random_batch(), bound_loss("fitnet", layers=["early", ("late", "late")])
    torch.compiler.reset()
    run = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(call(run, batch), call(loss, batch))


def test_parity_of_maps_with_torch():
    student, teacher = rows64(6, 4, 3, 2), rows64(6, 4, 3, 2, seed=1)
    torch.testing.assert_close(
        fitnet(student, teacher), torch.nn.functional.mse_loss(student, teacher)
    )
