"""The same numbers on an accelerator as on the CPU. Skipped where there is none."""

import pytest
import torch

from tests.losses.batches import Batch, bound_loss, random_batch, step
from tests.toy import toy_data, toy_encoders
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.sacd import SACD
from xdistill.registry import list_losses

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", list_losses())
def test_a_loss_and_its_gradient_are_the_same(name):
    found = []
    for device in ("cpu", "cuda"):
        loss = bound_loss(name, teacher_dim=5).to(device)
        batch = on(device, random_batch(teacher_dim=5))
        for _ in range(2):  # the second time banks hold keys
            result = step(loss, batch)
        found.append({part: tensor.cpu() for part, tensor in result.tensors().items()})
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", list_losses())
def test_a_step_does_not_wait_for_the_device(name):
    loss = bound_loss(name).to("cuda")
    batch = on("cuda", random_batch().change(valid=torch.arange(6) != 2))
    step(loss, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(loss, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on(device: str, batch: Batch) -> Batch:
    def move(tensor):
        return None if tensor is None else tensor.to(device)

    return Batch(
        batch.student.map(move),
        batch.teacher.map(move),
        move(batch.target),
        move(batch.valid),
        move(batch.index),
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_fit_trains_on_it(precision):
    distiller = Distiller(*toy_encoders(), CrossEntropy() + SACD(dim=8, bank_size=64))
    result = fit(
        distiller,
        paired_loader(toy_data(), 16, shuffle=True),
        paired_loader(toy_data(30, seed=1), 16),
        max_epochs=6,
        lr=0.02,
        accelerator="gpu",
        devices=1,
        precision=precision,
        enable_progress_bar=False,
    )
    assert result.best_value > 0.5
