"""NaN in training is found, named, and left in no student and no checkpoint."""

from dataclasses import replace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from tests.toy import toy_data, toy_encoders
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.engine.guard import bad_rows, bad_weights
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.dist import DIST
from xdistill.losses.kd import KD
from xdistill.losses.logit_mse import LogitMSE
from xdistill.losses.parts.loss import Loss
from xdistill.types import Outputs

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def train(**options):
    return paired_loader(toy_data(), 16, shuffle=True, seed=1)


class Spoiled(nn.Module):
    """An encoder whose outputs for marked inputs are NaN."""

    def __init__(self, encoder: nn.Module, rows: torch.Tensor):
        super().__init__()
        self.encoder, self.rows = encoder, rows
        self.modality, self.dim, self.num_classes = encoder.modality, encoder.dim, 3

    def forward(self, x):
        spoiled = (x[:, None] == self.rows).all(-1).any(-1)
        outputs = self.encoder(x)
        return outputs.map(lambda one: one.masked_fill(spoiled[:, None], torch.nan))


class NaNGradient(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.nan


class FiniteWithNaNGradient(Loss):
    name = "finite"
    shared_space = False
    task = True

    def __init__(self, step: int):
        super().__init__()
        self.step, self.calls = step, 0

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        self.calls += self.training
        logits = student.logits
        if self.training and self.calls == self.step:
            logits = NaNGradient.apply(logits)
        return logits.pow(2).mean()


class Term(Loss):
    """A part of the loss that is infinite from the third step on."""

    name = "broken_term"
    shared_space = False
    task = True

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        self.calls += 1
        return student.embedding.mean() * (1.0 if self.calls < 3 else torch.inf)


def test_a_teacher_of_nan_is_named_with_its_rows_though_the_loss_is_finite():
    data = toy_data()
    student, teacher = toy_encoders()
    distiller = Distiller(student, Spoiled(teacher, data.inputs["rich"][[4, 21]]), DIST())
    with pytest.raises(FloatingPointError, match="the teacher 'rich' returned NaN .*audit") as told:
        fit(distiller, paired_loader(data, 60), max_epochs=1, **QUIET)
    assert "rows 4, 21 in step 0" in str(told.value)


class Excluding(Spoiled):
    """An encoder that rules a class out for marked inputs."""

    def forward(self, x):
        marked = (x[:, None] == self.rows).all(-1).any(-1)
        outputs = self.encoder(x)
        low = marked[:, None] & (torch.arange(3) == 2)
        return replace(outputs, logits=outputs.logits.masked_fill(low, -torch.inf))


def test_a_teacher_that_rules_a_class_out_is_named_where_a_loss_has_no_value_for_it():
    data = toy_data()
    student, teacher = toy_encoders()
    excluding = Excluding(teacher, data.inputs["rich"][[4, 21]])
    loader = paired_loader(data, 60)
    told = (
        "logit_mse is NaN or infinite in step 0 .* teacher 'rich' rules classes out for rows 4, 21"
    )
    with pytest.raises(FloatingPointError, match=told):
        fit(
            Distiller(student, excluding, CrossEntropy() + LogitMSE()),
            loader,
            max_epochs=1,
            **QUIET,
        )
    result = fit(
        Distiller(student, excluding, CrossEntropy() + KD()), loader, max_epochs=1, **QUIET
    )
    assert result.history[0]["train/kd"] > 0


def test_a_student_of_nan_is_named_with_its_rows():
    data = toy_data()
    student, _ = toy_encoders()
    distiller = Distiller(Spoiled(student, data.inputs["cheap"][[7]]), None, CrossEntropy())
    with pytest.raises(FloatingPointError, match="the student returned NaN .* row 7 in step 0"):
        fit(distiller, paired_loader(data, 60), max_epochs=1, **QUIET)


def test_a_term_that_is_not_finite_is_named_with_the_rows_of_its_step():
    distiller = Distiller(toy_encoders()[0], None, CrossEntropy() + Term())
    with pytest.raises(FloatingPointError, match="loss is NaN or infinite in step 2") as told:
        fit(distiller, paired_loader(toy_data(), 16), max_epochs=1, **QUIET)
    assert "from broken_term of rows 32, 33" in str(told.value)
    assert "cross_entropy" not in str(told.value)


def test_a_nan_gradient_of_the_last_step_leaves_no_nan_student_and_no_checkpoint(tmp_path):
    student = toy_encoders()[0]
    epoch_before = {}

    class Keep(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            epoch_before.update({n: p.clone() for n, p in student.state_dict().items()})

    distiller = Distiller(student, None, FiniteWithNaNGradient(step=8))  # 4 steps an epoch
    own = ModelCheckpoint(tmp_path / "own", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(FloatingPointError, match="gradient is NaN or infinite in step 7"):
        fit(
            distiller,
            train(),
            max_epochs=2,
            run_dir=tmp_path / "run",
            callbacks=[Keep(), own],
            enable_checkpointing=True,
            **QUIET,
        )
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, epoch_before[name])
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    for path in [tmp_path / "run" / "last.ckpt", *(tmp_path / "own").iterdir()]:
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in state.values()), path
    assert len(list((tmp_path / "own").iterdir())) == 7


def test_weights_that_overflow_in_the_last_step_are_found():
    distiller = Distiller(toy_encoders()[0], None, CrossEntropy())
    options = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=torch.inf)}
    with pytest.raises(FloatingPointError, match="weights of the student are NaN"):
        fit(distiller, paired_loader(toy_data(), 60), max_epochs=1, **options, **QUIET)
    assert not bad_weights(distiller.student)


def test_a_nan_in_the_middle_of_an_epoch_ends_it_soon():
    loss = FiniteWithNaNGradient(step=3)
    many = paired_loader(toy_data(600), 4)  # 150 steps
    with pytest.raises(FloatingPointError, match="step 2"):
        fit(Distiller(toy_encoders()[0], None, loss), many, max_epochs=1, **QUIET)
    assert loss.calls == 50


def test_validation_refuses_a_student_of_nan():
    val = toy_data(30, seed=1)
    student = Spoiled(toy_encoders()[0], val.inputs["cheap"][[3, 5]])
    distiller = Distiller(student, None, CrossEntropy())
    with pytest.raises(FloatingPointError, match="NaN or infinity for 2 validation rows"):
        fit(distiller, train(), paired_loader(val, 16), max_epochs=1, **QUIET)


def test_a_class_that_is_ruled_out_is_no_fault():
    logits = torch.tensor([[0.0, -torch.inf], [torch.nan, 0.0], [torch.inf, 0.0], [1.0, 1.0]])
    assert bad_rows(Outputs(torch.zeros(4, 2), logits)).tolist() == [False, True, True, False]
    hidden = {"map": torch.zeros(4, 3, 2, 2).index_fill(0, torch.tensor([3]), torch.nan)}
    assert bad_rows(Outputs(torch.zeros(4, 2), None, hidden)).tolist() == [False] * 3 + [True]
