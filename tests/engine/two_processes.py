"""Train the toy problem in several processes; each writes what it has at the end.

`python -m tests.engine.two_processes PROCESSES KIND FOLDER`, where KIND is a key of KINDS.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from tests.toy import ToyEncoder, toy_data
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.fitnet import FitNet
from xdistill.losses.kd import KD
from xdistill.losses.parts.loss import Loss

ROWS = 16  # of a step, over all processes


class OneRankOfNaN(Loss):
    """The second process has a term of NaN at its fifth step, which the loss and gradient hide."""

    name = "one_rank"
    shared_space = False
    calls = 0

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        self.calls += self.training
        value = student.embedding.pow(2).mean()
        broken = self.calls == 5 and os.environ.get("LOCAL_RANK") == "1"
        self.record({"hidden": value * (float("nan") if broken else 1.0)})
        return value


KINDS = {
    "classifier": lambda: CrossEntropy() + KD(),
    "embedding": FitNet,
    "streams": CrossEntropy,
    "nan": OneRankOfNaN,
}


def main(processes: int, kind: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = ToyEncoder("cheap", 6, 8, None if kind == "embedding" else 3)
    student.norm, student.dropout = nn.Identity(), nn.Identity()  # neither is for 8 rows as for 16
    loss, batches = KINDS[kind](), []
    size = ROWS // processes
    train, streams = toy_data(64), None
    if kind == "streams":
        train, streams = toy_data(64, unlabelled=48), 2
        loss.register_forward_pre_hook(
            lambda module, inputs: (
                batches.append(int((inputs[2] >= 0).sum())) if module.training else None
            )
        )
    report = {}
    distiller = Distiller(student, ToyEncoder("rich", 3, 8), loss)
    try:
        result = fit(
            distiller,
            paired_loader(train, size, shuffle=True, labelled_per_batch=streams),
            paired_loader(toy_data(32, seed=1), size),
            max_epochs=3,
            monitor="val/loss",
            mode="min",
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            accelerator="cpu",
            devices=processes,
            enable_progress_bar=False,
        )
        report |= {"history": result.history, "best": result.best_epoch}
    except FloatingPointError as error:
        report["error"] = str(error)
    report["student"] = student.body.weight.flatten().tolist()
    rank = os.environ.get("LOCAL_RANK", "0")
    Path(folder, f"{rank}.json").write_text(json.dumps(report | {"labelled": batches}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
