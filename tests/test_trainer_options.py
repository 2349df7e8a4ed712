"""What a user may pass on to `lightning.Trainer`: each option does what it says, or is refused."""

import csv
import math

import lightning as L
import pytest
import torch
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, IterableDataset

from tests.toy import toy_data, toy_encoders
from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.engine.progress import Progress
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.kd import KD

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
STEPS = 4  # of an epoch: 60 rows in batches of 16


def sgd(lr=0.1):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


class Watch(L.Callback):
    """What happened in a run."""

    def __init__(self):
        self.rows: list[list[int]] = []
        self.validations = 0
        self.lr: list[float] = []
        self.seen: dict[str, set] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rows.append(batch.index.tolist())
        self.lr.append(trainer.optimizers[0].param_groups[0]["lr"])
        distiller = pl_module.distiller
        for name, one in {
            "input": batch.inputs["cheap"],
            "target": batch.target,
            "student": distiller.student.body.weight,
            "loss": next(distiller.losses.parameters(), torch.empty(0)),
        }.items():
            self.seen.setdefault(name, set()).add(one.dtype)

    def on_validation_end(self, trainer, pl_module):
        self.validations += 1


def problem(loss=None):
    return Distiller(*toy_encoders(), CrossEntropy() + KD() if loss is None else loss)


def run(distiller=None, *, train=None, val=True, callbacks=(), **options):
    """A run of two epochs, and what happened in it."""
    distiller, watch = distiller or problem(), Watch()
    options = {"max_epochs": 2, "lr": 0.02, **QUIET, **options}
    result = fit(
        distiller,
        paired_loader(toy_data(), 16, shuffle=True) if train is None else train,
        paired_loader(toy_data(30, seed=1), 16) if val else None,
        callbacks=[watch, *callbacks],
        **options,
    )
    return distiller, result, watch


@pytest.fixture(scope="module")
def plain():
    return run(max_epochs=2)


@pytest.mark.parametrize(
    "option",
    [
        {"precision": "32-true"},
        {"logger": False},
        {"enable_checkpointing": False},
        {"num_sanity_val_steps": 2},
        {"inference_mode": False},
        {"reload_dataloaders_every_n_epochs": 1},
        {"detect_anomaly": True},
        {"log_every_n_steps": 1},
        {"enable_model_summary": True},
        {"enable_progress_bar": True},
        {"profiler": "simple"},
        {"min_epochs": 1},
        {"use_distributed_sampler": False},
        {"strategy": "auto", "num_nodes": 1},
        {"max_time": {"hours": 1}},
    ],
    ids=lambda option: next(iter(option)),
)
@pytest.mark.filterwarnings("ignore:.*consider increasing the value of the `num_workers`")
def test_an_option_that_is_no_part_of_the_training_changes_no_number(plain, option):
    distiller, result, _ = run(**option)
    assert result == plain[1]
    for name, tensor in plain[0].student.state_dict().items():
        assert torch.equal(tensor, distiller.student.state_dict()[name])


def test_accumulated_batches_are_one_step_of_a_larger_batch():
    def student(batch_size, **options):
        distiller = problem(CrossEntropy())
        distiller.student.norm = torch.nn.Identity()
        distiller.student.dropout.p = 0.0
        train = paired_loader(toy_data(), batch_size)
        return run(distiller, train=train, optimizer=sgd(), **options)

    small, _, watch = student(10, accumulate_grad_batches=2)
    large, _, other = student(20)
    torch.testing.assert_close(small.student.state_dict(), large.student.state_dict())
    assert watch.lr[::2] == pytest.approx(other.lr)


def test_gradients_are_clipped():
    distiller = problem()
    before = [p.detach().clone() for p in distiller.student.parameters()]
    constant = {"scheduler": lambda opt, steps: torch.optim.lr_scheduler.ConstantLR(opt, 1.0)}
    options = {"gradient_clip_val": 0.01, "optimizer": sgd(1.0), "max_steps": 1, **constant}
    run(distiller, **options, val=False)
    after = [p.detach() for p in distiller.student.parameters()]
    moved = [(now - then).norm() for now, then in zip(after, before, strict=True)]
    assert float(torch.stack(moved).norm()) == pytest.approx(0.01, rel=1e-3)


def test_limits_are_kept():
    _, result, watch = run(limit_train_batches=2, limit_val_batches=1)
    assert [len(rows) for rows in watch.rows] == [16, 16] * 2
    assert watch.lr[-1] > 0  # the schedule is stretched over four steps
    whole = run(limit_train_batches=2)[1]
    assert result.history[0]["train/loss"] == whole.history[0]["train/loss"]
    assert result.history[0]["val/loss"] != whole.history[0]["val/loss"]


def test_max_steps_ends_the_training_and_its_schedule():
    _, result, watch = run(max_steps=6, max_epochs=30, val=False)
    assert len(watch.rows) == 6 and len(result.history) == 2
    assert watch.lr[-1] < 0.2 * max(watch.lr)


def test_max_time_ends_the_training():
    _, result, _ = run(max_epochs=100_000, max_time={"seconds": 1})
    assert 0 < len(result.history) < 100_000


def test_a_training_without_a_number_of_steps_is_refused_and_with_one_runs():
    with pytest.raises(ValueError, match=r"without end \(max_epochs=-1\).*pass max_steps"):
        run(max_epochs=-1, max_time={"seconds": 1})
    assert len(run(max_epochs=-1, max_steps=5, max_time={"hours": 1}, val=False)[2].rows) == 5


class Stream(IterableDataset):
    def __iter__(self):
        data = toy_data()
        yield from (data[row] for row in range(len(data)))


def test_a_loader_without_a_length_needs_that_of_an_epoch():
    def stream():
        return DataLoader(Stream(), 16, collate_fn=collate)

    with pytest.raises(ValueError, match="no length .* pass limit_train_batches=N"):
        run(train=stream(), check_data=False)
    options = {"limit_train_batches": 3, "max_epochs": 8, "check_data": False}
    _, result, watch = run(train=stream(), **options)
    assert len(watch.rows) == 3 * 8 and watch.lr[-1] < 0.1 * max(watch.lr)
    assert result.history[-1]["train/loss"] < 0.8 * result.history[0]["train/loss"]


def test_validation_within_and_between_epochs():
    assert run(val_check_interval=0.5)[2].validations == 4
    assert run(val_check_interval=3, check_val_every_n_epoch=None)[2].validations == 2
    assert run(check_val_every_n_epoch=2, max_epochs=4)[2].validations == 2


@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train")
def test_overfit_batches_sees_the_same_rows_in_every_epoch():
    _, result, watch = run(overfit_batches=2, max_epochs=10)
    assert {tuple(rows) for rows in watch.rows} == {tuple(range(16)), tuple(range(16, 32))}
    assert result.history[-1]["train/loss"] < result.history[0]["train/loss"]


@pytest.mark.filterwarnings("ignore:Running in `fast_dev_run` mode")
def test_fast_dev_run_is_one_batch():
    _, result, watch = run(fast_dev_run=True)
    assert len(watch.rows) == 1 and len(result.history) == 1


def test_gradient_checkpointing_changes_no_number(plain):
    distiller = problem()
    body = distiller.student.body
    forward = body.forward
    body.forward = lambda x: checkpoint(forward, x, use_reentrant=False)
    _, result, _ = run(distiller)
    assert result == plain[1]


def test_a_compiled_student_learns_the_same(plain):
    student, teacher = toy_encoders()
    compiled = torch.compile(student, backend="eager")
    _, result, _ = run(Distiller(compiled, teacher, CrossEntropy() + KD()))
    assert result.best_epoch == plain[1].best_epoch
    for row, expected in zip(result.history, plain[1].history, strict=True):
        assert row == pytest.approx(expected, rel=1e-5)
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(tensor, plain[0].student.state_dict()[name])


def test_early_stopping_on_the_validation_loss():
    stop = lightning_callbacks.EarlyStopping("val/loss", patience=2)
    _, result, _ = run(max_epochs=200, lr=0.1, callbacks=[stop])
    losses = [row["val/loss"] for row in result.history]
    assert 3 < len(losses) < 200
    assert len(losses) - 1 - losses.index(min(losses)) == 2
    terms = {"val/cross_entropy", "val/kd", "val/accuracy", "val/macro_f1", "val/kappa"}
    assert terms <= result.history[0].keys()
    row = result.history[0]
    assert row["val/loss"] == pytest.approx(row["val/cross_entropy"] + row["val/kd"], rel=1e-5)


def test_one_callback_needs_no_list():
    stop = lightning_callbacks.EarlyStopping("train/loss", patience=0, min_delta=math.inf)
    result = fit(problem(), paired_loader(toy_data(), 16), max_epochs=9, callbacks=stop, **QUIET)
    assert len(result.history) == 1


def test_early_stopping_on_what_is_not_measured_is_one_sentence():
    stop = lightning_callbacks.EarlyStopping("val/nothing")
    with pytest.raises(RuntimeError, match="val/nothing.*not available.*val/loss"):
        run(callbacks=[stop])


def test_model_checkpoint_keeps_the_student_that_fit_leaves(tmp_path):
    keep = lightning_callbacks.ModelCheckpoint(tmp_path, monitor="val/macro_f1", mode="max")
    distiller, result, _ = run(max_epochs=6, enable_checkpointing=True, callbacks=[keep])
    assert float(keep.best_model_score) == pytest.approx(result.best_value)
    state = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    for name, tensor in distiller.student.state_dict().items():
        assert torch.equal(tensor, state[f"distiller.student.{name}"])


def test_csv_logger_and_learning_rate_monitor(tmp_path):
    monitor = lightning_callbacks.LearningRateMonitor("step")
    logger = CSVLogger(tmp_path)
    _, result, watch = run(logger=logger, log_every_n_steps=1, callbacks=[monitor])
    with open(f"{logger.log_dir}/metrics.csv") as file:
        rows = list(csv.DictReader(file))

    def column(name):
        return [float(row[name]) for row in rows if row[name]]

    assert column("lr-AdamW/pg1") == pytest.approx(watch.lr, rel=1e-6)
    for name in ("train/loss", "train/kd", "val/loss", "val/macro_f1"):
        assert column(name) == pytest.approx([row[name] for row in result.history], rel=1e-5)


def test_tensorboard_logger(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator as accumulator

    logger = TensorBoardLogger(tmp_path)
    _, result, _ = run(logger=logger, log_every_n_steps=1)
    events = accumulator.EventAccumulator(logger.log_dir).Reload()
    logged = [event.value for event in events.Scalars("val/macro_f1")]
    assert logged == pytest.approx([row["val/macro_f1"] for row in result.history])


@pytest.mark.parametrize(
    "option, message",
    [
        ({"strategy": "fsdp"}, "'fsdp' shards the weights .* use strategy='ddp'"),
        ({"strategy": "deepspeed_stage_2"}, "'deepspeed_stage_2' shards the weights"),
        ({"barebones": True}, "barebones=True logs no metric"),
    ],
)
def test_what_fit_cannot_go_with_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        run(**option)


def test_the_bar_shows_the_loss_and_the_monitored_metric(capsys):
    _, result, _ = run(enable_progress_bar=True, callbacks=[Progress("val/macro_f1")])
    shown = capsys.readouterr().out
    assert f"val/macro_f1={result.history[0]['val/macro_f1']:.4g}" in shown
    assert "loss=" in shown
    assert "loss=," not in shown


def test_a_bar_of_the_callers_own_is_the_only_one():
    class Bar(lightning_callbacks.TQDMProgressBar):
        steps = 0

        def on_train_batch_end(self, *args):
            self.steps += 1

    bar = Bar()
    run(enable_progress_bar=True, callbacks=[bar])
    assert bar.steps == 2 * STEPS
