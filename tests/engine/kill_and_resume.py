"""Train the toy problem; the test kills this script at an epoch and starts it again."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import lightning as L
import torch

from tests.toy import toy_data, toy_encoders
from xdistill import registry
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.cross_entropy import CrossEntropy


class KillAt(L.Callback):
    """SIGKILL in the middle of an epoch."""

    def __init__(self, epoch: int, step: int):
        self.epoch, self.step = epoch, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(run_dir: str, kill_epoch: int, workers: int) -> None:
    torch.set_num_threads(1)
    student, teacher = toy_encoders()
    loss = CrossEntropy() + registry.create_loss("sacd", dim=8, bank_size=32)
    distiller = Distiller(student, teacher, loss)
    data = toy_data()
    noisy = data.replace(transforms={"cheap": lambda x: x + 0.1 * torch.randn_like(x)})
    result = fit(
        distiller,
        paired_loader(noisy, 16, shuffle=True, seed=1, num_workers=workers),
        paired_loader(toy_data(30, seed=1), 16),
        max_epochs=4,
        run_dir=run_dir,
        resume=Path(run_dir, "last.ckpt").exists(),
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        callbacks=[KillAt(kill_epoch, 2)] if kill_epoch >= 0 else [],
    )
    weights = {name: tensor.double().sum().item() for name, tensor in student.state_dict().items()}
    losses = {name: tensor.double().sum().item() for name, tensor in loss.state_dict().items()}
    print(json.dumps({"history": result.history, "student": weights, "loss": losses}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
