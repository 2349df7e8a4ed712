"""What a precision casts: networks and inputs, never targets, losses, banks or temperatures."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from tests.test_trainer_options import STEPS, problem, run, sgd
from tests.toy import toy_data
from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.engine.optimizer import warmup_cosine
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.kd import KD
from xdistill.losses.sacd import SACD
from xdistill.metrics import predict

PRECISIONS = {
    "bf16-true": (torch.bfloat16, torch.bfloat16, torch.float32, 0.1),
    "16-true": (torch.float16, torch.float16, torch.float32, 0.02),
    "64-true": (torch.float64, torch.float64, torch.float64, 1e-5),
    "bf16-mixed": (torch.float32, torch.float32, torch.float32, 0.05),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_is_that_of_networks_and_inputs_alone(precision):
    def trained(precision):
        distiller = problem(CrossEntropy() + KD() + InfoNCE(dim=4))
        distiller.student.dropout.p = 0.0  # what is drawn depends on the dtype
        return run(distiller, precision=precision, optimizer=sgd(), max_epochs=8)

    distiller, result, watch = trained(precision)
    inputs, student, loss, tolerance = PRECISIONS[precision]
    assert watch.seen == {
        "input": {inputs},
        "student": {student},
        "loss": {loss},
        "target": {torch.int64},
    }
    exact = trained("32-true")[1]
    for name in ("train/loss", "val/loss", "val/macro_f1"):
        assert result.history[-1][name] == pytest.approx(exact.history[-1][name], rel=tolerance)
    assert result.history[-1]["train/loss"] < 0.8 * result.history[0]["train/loss"]
    assert {p.dtype for p in distiller.parameters()} == {torch.float32}
    scores = predict(distiller.student, paired_loader(toy_data(30, seed=1), 16), 3).scores
    assert scores.macro_f1 == pytest.approx(result.best_value, abs=0.1)


def test_batches_and_outputs_pass_through_fabric():
    fabric = L.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    distiller = problem()
    wrapped, optimizer = fabric.setup(distiller, sgd()(distiller.parameters()))
    data = toy_data()
    before = distiller.student.body.weight.detach().clone()
    step = wrapped(collate([data[row] for row in range(12)]))
    assert step.student.logits.dtype == torch.float32 and set(step.terms) == {"cross_entropy", "kd"}
    fabric.backward(step.loss)
    optimizer.step()
    assert not torch.equal(before, distiller.student.body.weight)


def test_a_bank_and_a_temperature_are_not_rounded_by_a_half_precision():
    loss = SACD(dim=4, bank_size=32)
    distiller = problem(CrossEntropy() + loss)
    before = {name: one.clone() for name, one in loss.state_dict().items()}

    class Look(L.Callback):
        def on_train_start(self, trainer, pl_module):
            self.same = all(torch.equal(before[n], one) for n, one in loss.state_dict().items())

    look = Look()
    run(distiller, precision="bf16-true", callbacks=[look])
    assert before and look.same


def test_sixteen_true_is_refused_with_an_optimiser_that_it_breaks():
    with pytest.raises(ValueError, match="'16-true' turns the default optimiser's ε"):
        run(precision="16-true")


class OverflowingScaler(torch.amp.GradScaler):
    """Scales so much that the first gradients are infinite, as 16-mixed often does."""

    def __init__(self):
        super().__init__("cpu", init_scale=2.0**126, backoff_factor=2.0**-60)


def test_sixteen_mixed_keeps_the_schedule_waiting_for_the_optimiser():
    plugin = MixedPrecision("16-mixed", "cpu", OverflowingScaler())
    distiller = problem()
    before = distiller.student.body.weight.clone()
    changed = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            changed.append(not torch.equal(before, distiller.student.body.weight))

    _, result, watch = run(distiller, plugins=[plugin], callbacks=[Look()], max_epochs=3)
    left_out = changed.index(True)
    assert left_out >= 1 and len(watch.lr) == 3 * STEPS
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    schedule, expected = warmup_cosine(reference, 3 * STEPS), []
    for _ in range(3 * STEPS - left_out):
        expected.append(schedule.get_last_lr()[0])
        reference.step()
        schedule.step()
    assert watch.lr == pytest.approx([expected[0]] * left_out + expected)
    assert result.history[-1]["train/loss"] < result.history[0]["train/loss"]
