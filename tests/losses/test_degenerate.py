"""Batches of other types, of no rows and of −inf: a right value, or a sentence that says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.losses.batches import Batch, bound_loss, call, fitting, random_batch, step
from xdistill.registry import create_loss, list_losses
from xdistill.types import Outputs

every_loss = pytest.mark.parametrize("name", list_losses())


def cast(batch: Batch, student: torch.dtype, teacher: torch.dtype) -> Batch:
    return batch.change(
        student=batch.student.map(lambda x: x.to(student)),
        teacher=batch.teacher.map(lambda x: x.to(teacher)),
    )


@every_loss
@pytest.mark.parametrize("training", [False, True])
def test_no_rows_is_zero(name, training):
    loss = bound_loss(name).train(training)
    none = step(loss, random_batch().rows(torch.arange(0)))
    assert none.value == 0 and all(not tensor.isnan().any() for tensor in none.tensors().values())
    assert step(loss, random_batch(seed=1)).value.isfinite()


TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@every_loss
@pytest.mark.parametrize("student", TYPES)
@pytest.mark.parametrize("teacher", TYPES)
def test_any_types_give_the_value_of_float64(name, student, teacher):
    """The twin is computed in float64 from the same rounded numbers."""
    batch = cast(random_batch(teacher_dim=5), student, teacher)
    twin = step(bound_loss(name, teacher_dim=5).double(), cast(batch, torch.float64, torch.float64))
    result = step(bound_loss(name, teacher_dim=5), batch)
    torch.testing.assert_close(result.value.double(), twin.value, rtol=1e-4, atol=1e-5)


@every_loss
@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8, "numpy"])
def test_any_integer_type_gives_the_same(name, kind):
    batch = fitting(bound_loss(name), random_batch())

    def other(x: torch.Tensor):
        return x.numpy() if kind == "numpy" else x if x.is_floating_point() else x.to(kind)

    same = call(bound_loss(name), batch)
    result = call(
        bound_loss(name), batch.change(target=other(batch.target), index=other(batch.index))
    )
    torch.testing.assert_close(result, same)


@every_loss
def test_tensors_that_are_not_contiguous(name):
    def strided(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x, x], dim=-1)[..., 0]

    batch = random_batch()
    other = batch.change(student=batch.student.map(strided), teacher=batch.teacher.map(strided))
    torch.testing.assert_close(
        step(bound_loss(name), other).tensors(), step(bound_loss(name), batch).tensors()
    )


@every_loss
def test_a_bare_tensor_is_told_of_outputs(name):
    x = torch.randn(4, 3)
    with pytest.raises(TypeError, match=r"student must be xd.Outputs.*tensor \[4, 3\].*embedding="):
        create_loss(name)(x, x, torch.zeros(4, dtype=torch.int64))


@every_loss
def test_an_embedding_with_more_axes_is_told_to_pool(name):
    one = Outputs(torch.randn(4, 8, 2, 2), torch.randn(4, 3))
    with pytest.raises(ValueError, match=r"student's embedding must be \[B, D\].*pool"):
        create_loss(name)(one, one, torch.zeros(4, dtype=torch.int64))


@every_loss
@pytest.mark.parametrize("valid", [torch.full((6,), torch.nan), torch.ones(6, dtype=torch.int64)])
def test_valid_is_bool(name, valid):
    with pytest.raises(TypeError, match="valid must be bool"):
        call(bound_loss(name), random_batch().change(valid=valid))


@every_loss
@pytest.mark.parametrize("argument", ["valid", "index", "target"])
def test_a_short_argument_is_refused(name, argument):
    batch = random_batch().change(valid=torch.ones(6, dtype=torch.bool))
    with pytest.raises(ValueError, match=f"{argument} has 5"):
        call(bound_loss(name), batch.change(**{argument: getattr(batch, argument)[:5]}))


@pytest.mark.parametrize("target", [torch.zeros(6), torch.ones(6, dtype=torch.bool), np.ones(6)])
def test_a_target_that_is_not_an_integer_is_refused(target):
    told = r"target must be integer class indices, got .*\.long\(\)|reads one class per row"
    with pytest.raises((TypeError, ValueError), match=told):
        call(bound_loss("cross_entropy"), random_batch().change(target=target))


@pytest.mark.parametrize("wrong", [torch.nn.Linear(2, 3), None, True, -1])
def test_bind_says_what_it_takes(wrong):
    with pytest.raises(TypeError, match=r"bind takes an encoder .*loss.bind\(512, 128\)"):
        create_loss("infonce").bind(wrong, 4)


def test_a_teacher_that_excludes_a_class_gives_the_value_of_torch():
    batch = random_batch()
    logits = batch.teacher.logits.clone()
    logits[:, 0] = -torch.inf
    batch = batch.change(teacher=replace(batch.teacher, logits=logits))
    result = step(create_loss("kd", temperature=2.0), batch)
    ours = batch.student.logits.clone().requires_grad_()
    expected = 4 * torch.nn.functional.kl_div(
        (ours / 2).log_softmax(1), (logits / 2).softmax(1), reduction="batchmean"
    )
    expected.backward()
    torch.testing.assert_close(result.value, expected.detach())
    torch.testing.assert_close(result.logits, ours.grad)


# Without a bound for ever lower logits: KL(p_s ‖ p_t) is infinite, as are a mean and a square.
NO_LIMIT = {"lskd", "logit_mse", "c2kd", "dml", "jeffreys", "mst"}


@every_loss
def test_a_teacher_that_excludes_a_class(name):
    """The value is the limit of ever lower logits; or NaN or infinite, which `fit` stops at."""
    if name == "binary_cross_entropy":
        return
    batch = random_batch().change(target=torch.ones(6, dtype=torch.int64))

    def with_logit(low: float) -> Batch:
        logits = batch.teacher.logits.clone()
        logits[:, 0] = low
        return batch.change(teacher=replace(batch.teacher, logits=logits))

    excluded, limit = (step(bound_loss(name), with_logit(x)) for x in (-torch.inf, -1e4))
    if name in NO_LIMIT:
        assert not excluded.value.isfinite()
    else:
        torch.testing.assert_close(excluded.tensors(), limit.tensors())


def test_lskd_of_two_classes_says_that_nothing_is_left():
    one = Outputs(torch.randn(4, 3), torch.randn(4, 2))
    with pytest.raises(ValueError, match="lskd needs 3 classes or more, got 2"):
        create_loss("lskd")(one, one)
