from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch

import xdistill as xd
from tests.losses.batches import call, random_batch
from tests.toy import toy_data, toy_encoders
from xdistill.losses.parts.loss import Loss


def factors(loss: Loss, total: int, steps_per_epoch: int = 1) -> list[float]:
    found = []
    for step in range(total):
        loss.set_progress(step, total, steps_per_epoch)
        found.append(round(float(loss.factor), 6))
    return found


def test_warmup_grows_over_epochs():
    loss = xd.warmup(xd.KD(), epochs=4)
    assert factors(loss, 6) == [0, 0.25, 0.5, 0.75, 1, 1]
    assert factors(loss, 6, steps_per_epoch=2) == [0, 0.125, 0.25, 0.375, 0.5, 0.625]
    assert factors(xd.warmup(xd.KD(), epochs=0), 2) == [1, 1]


def test_ramp_moves_between_shares_of_the_training():
    assert factors(xd.ramp(xd.KD()), 4) == [0, 0.25, 0.5, 0.75]
    fade = xd.ramp(xd.KD(), 2.0, 0.0, begin=0.25, until=0.75)
    assert factors(fade, 8, steps_per_epoch=3) == [2, 2, 2, 1.5, 1, 0.5, 0, 0]
    fade.set_progress(8, 8)
    assert fade.factor == 0
    smooth = xd.ramp(xd.KD(), shape="cosine")
    exact = [0.5 - 0.5 * math.cos(math.pi * x / 4) for x in range(4)]
    assert factors(smooth, 4) == pytest.approx(exact, abs=1e-6)


def test_the_value_is_the_factor_times_the_loss():
    batch = random_batch()
    plain, loss = xd.KD(), xd.warmup(xd.KD(), epochs=4)
    loss.set_progress(1, 10)
    torch.testing.assert_close(call(loss, batch), 0.25 * call(plain, batch))
    torch.testing.assert_close(loss.terms, plain.terms)  # without the factor


def test_a_schedule_composes():
    """In a sum, times a weight, over a sum, and inside another schedule."""
    batch = random_batch()
    both = xd.warmup(xd.KD() + 2 * xd.JSD(), epochs=2)
    loss = xd.CrossEntropy() + 0.5 * xd.ramp(both, 1.0, 0.0) + xd.KD()
    loss.set_progress(1, 4)
    parts = [call(one, batch) for one in (xd.CrossEntropy(), xd.KD(), xd.JSD())]
    expected = parts[0] + 0.5 * 0.75 * 0.5 * (parts[1] + 2 * parts[2]) + parts[1]
    torch.testing.assert_close(call(loss, batch), expected)
    kinds = [type(leaf) for leaf in loss.leaves()]
    assert kinds == [xd.CrossEntropy, xd.KD, xd.JSD, xd.KD]
    assert "from 0 to 2 epochs" in repr(both)


def test_equal_labels_inside_schedules_are_numbered():
    loss = xd.warmup(xd.KD(1.0), epochs=1) + xd.ramp(xd.KD(4.0))
    loss.set_progress(1, 2)
    call(loss, random_batch())
    assert list(loss.terms) == ["kd", "kd_2"]


class Mutual(Loss):
    mutual = True
    name = "mutual"

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return (student.embedding * teacher.embedding).mean()


def test_a_mutual_loss_stays_mutual():
    loss = xd.warmup(Mutual(), epochs=1)
    loss.set_progress(1, 1)
    batch = random_batch()
    teacher = batch.teacher.map(lambda tensor: tensor.requires_grad_())
    call(loss, batch.change(teacher=teacher)).backward()
    assert teacher.embedding.grad.any()


def test_binding_reaches_the_loss_inside():
    loss = xd.warmup(xd.InfoNCE(dim=4), epochs=1).bind(8, 5)
    loss.set_progress(1, 1)
    assert call(loss, random_batch(teacher_dim=5)).requires_grad


def test_it_warns_once_without_set_progress():
    batch = random_batch()
    loss = xd.warmup(xd.KD(), epochs=3)
    with pytest.warns(UserWarning, match="schedule of kd does not know .* stays at its start, 0"):
        assert call(loss, batch) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(loss, batch)
        call(xd.warmup(xd.KD(), epochs=3).eval(), batch)


def test_the_factor_is_saved():
    loss = xd.warmup(xd.KD(), epochs=4)
    loss.set_progress(3, 10)
    other = xd.warmup(xd.KD(), epochs=4)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    batch = random_batch()
    torch.testing.assert_close(call(other, batch), call(loss, batch))


def test_progress_does_not_compile_again():
    loss = xd.warmup(xd.KD(), epochs=4)
    batch = random_batch()
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for step in range(4):
        loss.set_progress(step, 10)
        # The first call also fills `terms`, which the second meets.
        with torch.compiler.set_stance("fail_on_recompile" if step > 1 else "default"):
            value = compiled(batch.student, batch.teacher, batch.target)
        torch.testing.assert_close(value, step / 4 * call(xd.KD(), batch))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: xd.ramp(xd.KD(), until=2), "until is a share"),
        (lambda: xd.ramp(xd.KD(), begin=0.5, until=0.2), "0.5 to 0.2"),
        (lambda: xd.warmup(xd.KD(), epochs=-1), "0 to -1"),
        (lambda: xd.warmup(xd.KD(), epochs=1, shape="step"), "one of .'cosine', 'linear'.*'step'"),
        (lambda: xd.Scheduled(xd.KD(), 0, 1, 0, 1, "hours"), "unit must be"),
        (lambda: xd.warmup(xd.KD(), epochs=1).set_progress(-1, 5), "got -1, 5 and 1"),
        (lambda: xd.warmup(xd.KD(), epochs=1).set_progress(0, 0), "got 0, 0 and 1"),
        (lambda: xd.warmup(xd.KD(), epochs=1).set_progress(0, 5, 0), "got 0, 5 and 0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Watch(Loss):
    """Zero; records the calls of `set_progress`."""

    name = "watch"
    shared_space = False

    def __init__(self):
        super().__init__()
        self.calls = []

    def set_progress(self, step, total, steps_per_epoch=1):
        self.calls.append((step, total, steps_per_epoch))

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return student.embedding.sum() * 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_drives_it(accumulate):
    student, teacher = toy_encoders()
    watch, slow = Watch(), xd.warmup(xd.KD(), epochs=2)
    distiller = xd.Distiller(student, teacher, xd.CrossEntropy() + slow + xd.ramp(watch))
    loader = xd.paired_loader(toy_data(rows=60), 10, shuffle=True)
    xd.fit(distiller, loader, max_epochs=3, accumulate_grad_batches=accumulate)
    steps = 6 // accumulate
    assert watch.calls[::accumulate] == [(step, 3 * steps, steps) for step in range(3 * steps)]
    assert slow.factor == 1
