"""A run that is resumed ends as it would have, or says why it cannot."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from tests.engine.test_fit import QUIET, alone, loaders
from tests.toy import toy_data, toy_encoders
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.kd import KD

BASE = {"max_epochs": 4, "lr": 0.02, **QUIET}


class Steps(L.Callback):
    """How often the optimiser steps, and with which rates."""

    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def patience():
    return EarlyStopping("val/macro_f1", patience=1, mode="max")


@pytest.mark.filterwarnings("ignore:val/macro_f1 was never measured")  # after no second
@pytest.mark.parametrize(
    ("limits", "epochs"),
    [
        ({"max_epochs": 3}, 3),
        ({"max_steps": 8}, 2),
        ({"max_steps": 6}, 2),
        ({"max_time": {"milliseconds": 1}}, 1),
        ({"callbacks": "patience", "max_epochs": 40}, None),
    ],
)
def test_a_run_that_has_ended_returns_its_result(tmp_path, limits, epochs):
    train, val = loaders()

    def run(resume):
        given = {**limits, "callbacks": [patience()] if "callbacks" in limits else []}
        distiller, steps = alone(), Steps()
        given["callbacks"] = [*given["callbacks"], steps]
        options = {**BASE, **given, "run_dir": tmp_path, "resume": resume}
        return distiller, fit(distiller, train, val, **options), steps

    first, result, _ = run(False)
    assert epochs is None or len(result.history) == epochs
    for _ in range(2):
        second, again, steps = run(True)
        assert again == result and not steps.rates
        for name, tensor in first.state_dict().items():
            assert torch.equal(tensor, second.state_dict()[name]), name


def test_more_epochs_go_on_without_a_step_at_rate_zero(tmp_path):
    train, val = loaders()
    options = {"run_dir": tmp_path, **BASE}
    fit(alone(), train, val, **{**options, "max_epochs": 2})
    whole, longer = Steps(), Steps()
    distiller = alone()
    result = fit(distiller, train, val, resume=True, callbacks=[longer], **options)
    fit(alone(), train, val, callbacks=[whole], **BASE)
    assert [row["epoch"] for row in result.history] == [0, 1, 2, 3]
    assert longer.rates == pytest.approx(whole.rates[8:]) and min(longer.rates) > 0


def test_a_run_that_ended_within_an_epoch_cannot_go_on(tmp_path):
    train, val = loaders()
    options = {"run_dir": tmp_path, **BASE}
    fit(alone(), train, val, max_steps=6, **options)
    with pytest.raises(ValueError, match="after 6 steps, in the middle of epoch 1"):
        fit(alone(), train, val, max_steps=12, resume=True, **options)


def test_the_state_of_callbacks_comes_back(tmp_path):
    train, val = loaders()
    options = {"run_dir": tmp_path, **BASE}
    fit(alone(), train, val, callbacks=[patience()], **{**options, "max_epochs": 1})
    stopping = patience()
    seen = {}

    class Look(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.setdefault("best", float(stopping.best_score))

    fit(alone(), train, val, callbacks=[stopping, Look()], resume=True, **options)
    assert 0 < seen["best"] < 1


CHANGES = {
    "lr": {"lr": 0.01},
    "seed": {"seed": 1},
    "weight_decay": {"weight_decay": 0.5},
    "monitor": {"monitor": "val/accuracy"},
    "gradient_clip_val": {"gradient_clip_val": 1.0},
    "optimizer": {"optimizer": torch.optim.SGD},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_option_is_refused(tmp_path, name):
    train, val = loaders()
    options = {"run_dir": tmp_path, **BASE}
    fit(alone(), train, val, **{**options, "max_epochs": 1})
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(ValueError, match=f"made with something else: {name} was .*, now "):
        fit(alone(), train, val, resume=True, **{**options, **CHANGES[name]})
    assert (tmp_path / "last.ckpt").read_bytes() == before


def other_data(seed=0):
    data = toy_data(60, seed)
    return data, toy_data(30, 1)


def test_other_loss_network_batches_or_data_are_refused(tmp_path):
    data, val = other_data()

    def run(loss=None, rows=data, size=16, dim=8, resume=True):
        student, teacher = toy_encoders(dim)
        loss = CrossEntropy() + KD() if loss is None else loss
        loaders = (paired_loader(rows, size, shuffle=True), paired_loader(val, 16))
        distiller = Distiller(student, teacher, loss)
        options = {**BASE, "max_epochs": 1}
        return fit(distiller, *loaders, run_dir=tmp_path, resume=resume, **options)

    run(resume=False)
    relabelled = data.replace(target=(data.target + 1) % 3)
    scaled = data.replace(inputs={**data.inputs, "cheap": 2 * data.inputs["cheap"]})
    cooler = CrossEntropy() + KD(temperature=2.0)
    for told, change in {
        r"loss was .*KD\(temperature=4.0\).*, now .*KD\(temperature=2.0\)": {"loss": cooler},
        "loss was": {"loss": CrossEntropy() + 0.5 * KD()},
        "batch size was 16 rows, now 8 rows": {"size": 8},
        "student was ToyEncoder of": {"dim": 4},
        "training data was 60 rows": {"rows": relabelled},
        "training data was": {"rows": scaled},
        "training data was 60 rows .*, now 30 rows": {"rows": val},
    }.items():
        with pytest.raises(ValueError, match=told):
            run(**change)
    assert len(run().history) == 1


@pytest.mark.parametrize("content", [{}, {"callbacks": {}}, [], {"state_dict": {}}])
def test_a_foreign_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    train, val = loaders()
    with pytest.raises(ValueError, match=r"last.ckpt has no .*, so fit did not write it"):
        fit(alone(), train, val, run_dir=tmp_path, resume=True, **BASE)
