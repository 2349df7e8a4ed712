"""Ctrl-C ends a run with the best student so far."""

import signal

import lightning as L
import pytest
import torch

from tests.engine.test_fit import QUIET, alone, loaders
from tests.toy import ToyEncoder, toy_data, toy_encoders
from xdistill.engine import cross_fit_teacher, fit, recipe
from xdistill.metrics import predict

BASE = {"max_epochs": 6, "lr": 0.02, **QUIET}


@pytest.fixture(autouse=True)
def listening():
    """Ctrl-C as in a terminal; a process that was started in the background ignores it."""
    given = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, given)


class Interrupt(L.Callback):
    """Presses Ctrl-C in the second batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("epoch", [0, 3])
def test_it_leaves_the_best_student_and_says_how_to_go_on(tmp_path, capsys, epoch):
    train, val = loaders()
    handler, distiller = signal.getsignal(signal.SIGINT), alone()
    options = {"run_dir": tmp_path, **BASE}
    result = fit(distiller, train, val, callbacks=[Interrupt(epoch)], **options)
    assert signal.getsignal(signal.SIGINT) is handler
    printed = capsys.readouterr().err
    assert result.interrupted and len(result.history) == epoch
    assert printed.count("\n") == 1 and "resume=True) goes on" in printed
    if epoch:
        assert f"the student is that of epoch {result.best_epoch} (val/macro_f1" in printed
        scores = predict(distiller.student, val, 3).scores
        assert scores.macro_f1 == pytest.approx(result.best_value, abs=1e-6)
    whole, resumed = alone(), alone()
    unbroken = fit(whole, train, val, **BASE)
    assert fit(resumed, train, val, resume=True, **options) == unbroken
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(tensor, resumed.student.state_dict()[name])


def test_what_trains_several_networks_ends_instead_of_going_on():
    data, val = toy_data(), toy_data(30, seed=1)
    options = {"callbacks": [Interrupt(0)], "batch_size": 8, **BASE}
    with pytest.raises(KeyboardInterrupt):
        cross_fit_teacher(data, lambda: ToyEncoder("rich", 3), "rich", folds=3, **options)
    student, teacher = toy_encoders()
    with pytest.raises(KeyboardInterrupt):
        recipe(lambda: student, teacher, data, val, **options)
