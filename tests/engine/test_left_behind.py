"""The student that a run leaves is the one that was scored."""

import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging

from tests.engine.test_fit import QUIET, alone, loaders
from tests.toy import toy_data
from xdistill.data.loader import paired_loader
from xdistill.engine import fit
from xdistill.engine.monitor import chosen_monitor
from xdistill.metrics import predict

SLOW = {"max_epochs": 6, "lr": 0.01, **QUIET}


class Swaps(L.Callback):
    """Ends by giving the student weights of its own, as a third party's averaging would."""

    def on_train_end(self, trainer, pl_module):
        for parameter in pl_module.distiller.student.parameters():
            parameter.data.mul_(-1)


def score_of(distiller, val):
    return predict(distiller.student, val, 3).scores.macro_f1


def test_the_average_that_was_validated_is_what_is_left():
    train, val = loaders()
    plain, averaged = alone(), alone()
    fit(plain, train, val, **SLOW)
    result = fit(averaged, train, val, callbacks=[EMAWeightAveraging(decay=0.9)], **SLOW)
    assert result.best_value == result.history[result.best_epoch]["val/macro_f1"]
    assert score_of(averaged, val) == pytest.approx(result.best_value, abs=1e-6)
    assert not torch.equal(averaged.student.body.weight, plain.student.body.weight)


@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
@pytest.mark.parametrize("norm", [True, False])
def test_stochastic_weight_averaging_is_measured_and_left(tmp_path, norm):
    train, val = loaders()
    distiller = alone()
    if not norm:
        distiller.student.norm = torch.nn.Identity()
    swa = StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2)
    result = fit(distiller, train, val, callbacks=[swa], run_dir=tmp_path, **SLOW)
    average = swa._average_model.distiller.student
    assert torch.equal(distiller.student.body.weight, average.body.weight)
    assert score_of(distiller, val) == pytest.approx(result.best_value, abs=1e-6)


@pytest.mark.parametrize("validated", [True, False])
def test_what_a_callback_leaves_at_the_end_is_measured_and_left(tmp_path, validated):
    train, val = loaders()
    plain, swapped = alone(), alone()
    fit(plain, train, **SLOW)
    options = {"run_dir": tmp_path, "callbacks": [Swaps()], **SLOW}
    result = fit(swapped, train, val if validated else None, **options)
    assert torch.equal(swapped.student.body.weight, -plain.student.body.weight)
    if validated:
        assert score_of(swapped, val) == pytest.approx(result.best_value, abs=1e-6)
        assert result.best_value < max(row["val/macro_f1"] for row in result.history)
    else:
        assert math.isnan(result.best_value)
    assert result.best_epoch == 5
    again = alone()
    resumed = fit(again, train, val if validated else None, resume=True, **options)
    assert torch.equal(again.student.body.weight, swapped.student.body.weight)
    assert resumed.best_value == result.best_value or not validated


def test_without_validation_a_training_term_may_choose():
    train, _ = loaders()
    kept, last = alone(), alone()
    result = fit(kept, train, monitor="train/loss", mode="max", **SLOW)  # the worst, on purpose
    losses = [row["train/loss"] for row in result.history]
    assert result.best_value == max(losses) == losses[result.best_epoch]
    assert result.best_epoch < 5
    ended = fit(last, train, **SLOW)
    assert ended.best_epoch == 5 and math.isnan(ended.best_value) and ended.monitor is None
    assert not torch.equal(kept.student.body.weight, last.student.body.weight)


def test_a_loss_is_minimised_unless_one_says_otherwise():
    train, val = loaders()
    result = fit(alone(), train, val, monitor="val/loss", **SLOW)
    assert result.mode == "min"
    assert result.best_value == min(row["val/loss"] for row in result.history)
    for name, mode in (
        ("val/kd", "min"),
        ("train/kd", "min"),
        ("val/mae", "min"),
        ("val/accuracy", "max"),
        ("val/recall@1", "max"),
    ):
        assert chosen_monitor(name, None, True).mode == mode
    assert chosen_monitor("val/loss", "max", True).mode == "max"


def test_a_monitor_that_cannot_be_is_refused():
    train, val = loaders()
    with pytest.raises(ValueError, match="'val/accuracy' is measured on validation, but there is"):
        fit(alone(), train, monitor="val/accuracy", **SLOW)
    with pytest.raises(ValueError, match=r"'val/f1' is not logged; logged are .*'val/macro_f1'"):
        fit(alone(), train, val, monitor="val/f1", **SLOW)
    with pytest.raises(ValueError, match="mode must be 'max' or 'min', got 'highest'"):
        fit(alone(), train, val, mode="highest", **SLOW)


def test_a_validation_part_without_labels_or_with_one_class_is_told_of():
    train, _ = loaders()
    data = toy_data(30, seed=1)
    unlabelled = paired_loader(data.replace(target=torch.full((30,), -1)), 16)
    with pytest.raises(ValueError, match="'val/macro_f1' is not logged.*without a label"):
        fit(alone(), train, unlabelled, **SLOW)
    train, one_class = (
        paired_loader(one.subset(one.target == 1), 16) for one in (toy_data(), data)
    )
    with pytest.raises(ValueError, match="val/kappa is not defined on these .*two classes"):
        fit(alone(), train, one_class, monitor="val/kappa", **SLOW)


def test_history_holds_a_metric_only_where_it_was_measured():
    train, val = loaders()
    result = fit(alone(), train, val, check_val_every_n_epoch=2, **SLOW)
    assert ["val/macro_f1" in row for row in result.history] == [False, True] * 3
    assert result.best_epoch % 2 == 1
    short = fit(alone(), train, val, **{**SLOW, "max_epochs": 3}, max_steps=10)  # 4 an epoch
    assert [row["epoch"] for row in short.history] == [0, 1, 2]
    values = [row.get("val/loss") for row in short.history]
    assert values[2] is None or values[2] != values[1]


def test_the_best_of_several_validations_of_an_epoch_is_kept():
    train, val = loaders()
    distiller = alone()
    result = fit(distiller, train, val, val_check_interval=0.25, **SLOW)
    assert result.best_value >= max(row["val/macro_f1"] for row in result.history)
    assert score_of(distiller, val) == pytest.approx(result.best_value, abs=1e-6)


def test_a_metric_that_nothing_measured_is_told_of():
    train, val = loaders()
    with pytest.warns(UserWarning, match="val/macro_f1 was never measured in this run"):
        result = fit(alone(), train, val, limit_val_batches=0, **SLOW)
    assert result.best_epoch == 5 and math.isnan(result.best_value)


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook", "ddp_fork"])
def test_strategies_whose_student_would_not_come_back_are_refused(strategy):
    train, val = loaders()
    with pytest.raises(ValueError, match=f"'{strategy}' trains copies .* use strategy='ddp'"):
        fit(alone(), train, val, strategy=strategy, **SLOW)


def test_one_line_is_printed_with_the_bar_and_none_without(capfd):
    train, val = loaders()
    fit(alone(), train, val, **SLOW)
    assert capfd.readouterr() == ("", "")
    fit(alone(), train, val, **{**SLOW, "enable_progress_bar": True})
    printed = capfd.readouterr().err
    assert (
        "xdistill: 60 rows, 6 epochs, 1 × cpu, precision 32-true; val/macro_f1 chooses" in printed
    )
    for word in ("GPU available", "TPU", "Tip", "litlogger", "max_epochs="):
        assert word not in printed
