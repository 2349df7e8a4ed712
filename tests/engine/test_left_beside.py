"""What trains beside the student is left as of the student's epoch, too."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging

from tests.engine.test_fit import QUIET, alone, loaders
from tests.toy import ToyEncoder, toy_data, toy_encoders
from xdistill.data.collate import collate
from xdistill.distiller import Distiller
from xdistill.engine import fit, run_state
from xdistill.engine.embedding_metrics import recall_at
from xdistill.engine.weights import beside_student, is_kept, kept_of
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.fd_cmkd import FDCMKD
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.kd import KD
from xdistill.losses.sacd import SACD

OPTIONS = {"max_epochs": 6, "lr": 0.05, **QUIET}


class Copies(L.Callback):
    """What trains, at the end of each epoch."""

    def __init__(self):
        self.of_epoch = []

    def on_validation_epoch_end(self, trainer, pl_module):
        self.of_epoch.append(kept_of(pl_module.distiller))


def without_classifier() -> Distiller:
    torch.manual_seed(0)
    student, teacher = ToyEncoder("cheap", 6, 8, None), ToyEncoder("rich", 3, 8, None)
    return Distiller(student, teacher, InfoNCE(dim=4), projector="mlp")


def recall(distiller, k=1) -> float:
    val = toy_data(30, seed=1)
    batch = collate([val[row] for row in range(len(val))])
    distiller.eval()
    with torch.no_grad():
        step = distiller(batch)
        pair = distiller.losses["rich"].project(step.student, step.teachers["rich"])
    return recall_at(k, *(one.embedding for one in pair))


@pytest.mark.parametrize("mode", ["max", "min"])
def test_recall_through_the_projectors_is_that_of_the_kept_epoch(tmp_path, mode):
    options = {**OPTIONS, "monitor": "val/recall@1", "mode": mode, "run_dir": tmp_path}
    distiller, again = without_classifier(), without_classifier()
    result = fit(distiller, *loaders(), **options)
    assert mode == "max" or result.best_epoch < 5
    assert recall(distiller) == pytest.approx(result.best_value)
    fit(again, *loaders(), resume=True, **options)
    assert recall(again) == pytest.approx(result.best_value)
    assert is_kept(again, kept_of(distiller))


@pytest.mark.parametrize(("train_teacher", "mode"), [(True, "min"), ("classifier", "max")])
def test_losses_and_a_training_teacher_are_of_the_kept_epoch(train_teacher, mode):
    loss = CrossEntropy() + KD() + SACD(dim=4, bank_size=32)
    distiller = Distiller(*toy_encoders(), loss, train_teacher=train_teacher)
    frozen = distiller.teachers["rich"].body.weight.clone()
    copies = Copies()
    result = fit(
        distiller, *loaders(), monitor="val/loss", mode=mode, callbacks=[copies], **OPTIONS
    )
    kept = copies.of_epoch[result.best_epoch]
    assert result.best_epoch < 5 and not is_kept(distiller, copies.of_epoch[-1])
    assert is_kept(distiller, kept)
    names = set(kept.beside)
    assert "teachers.rich.classifier.weight" in names
    assert ("teachers.rich.norm.running_mean" in names) == (train_teacher is True)
    assert any(name.startswith("losses.") and "weight" in name for name in names)
    assert not any("bank" in name for name in names)
    changed = not torch.equal(distiller.teachers["rich"].body.weight, frozen)
    assert changed == (train_teacher is True)


def test_statistics_of_norms_in_losses_belong_to_what_is_kept():
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, CrossEntropy() + FDCMKD(dim=8))
    norm = torch.nn.BatchNorm1d(8)
    distiller.losses["rich"].add_module("norm", norm)
    names = {name for name, _ in beside_student(distiller)}
    assert {"losses.rich.norm.weight", "losses.rich.norm.running_var"} <= names


def test_a_validation_copies_the_weights_once(monkeypatch):
    calls = []

    def counted(distiller):
        calls.append(1)
        return kept_of(distiller)

    monkeypatch.setattr(run_state, "kept_of", counted)
    fit(alone(), *loaders(), **OPTIONS)
    assert len(calls) == 6 + 1  # and once before the callbacks' last word


class Killed(Exception):
    pass


class KillAt(L.Callback):
    """Ends the run as a kill would, before any other callback has its say."""

    def __init__(self, epoch=None):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise Killed

    def on_train_end(self, trainer, pl_module):
        if self.epoch is None:
            raise Killed


@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
@pytest.mark.parametrize(
    ("norm", "epoch", "limits"),
    [
        (False, 3, {}),
        (False, None, {}),
        (False, None, {"max_steps": 18}),
        (True, 3, {}),
        (True, 6, {}),
        (True, None, {}),
        (True, None, {"max_steps": 16}),
    ],
)
def test_a_run_killed_before_its_average_ends_with_it(tmp_path, norm, epoch, limits):
    def run(*callbacks, **options):
        distiller = alone()
        if not norm:
            distiller.student.norm = torch.nn.Identity()
        swa = StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2)
        options = {**OPTIONS, **limits, **options}
        return distiller, fit(distiller, *loaders(), callbacks=[*callbacks, swa], **options)

    whole, result = run()
    with pytest.raises(Killed):
        run(KillAt(epoch), run_dir=tmp_path)
    for _ in range(2):
        resumed, again = run(run_dir=tmp_path, resume=True)
        assert again == result
        assert is_kept(resumed, kept_of(whole))
