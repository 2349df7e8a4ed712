"""One run of `fit` on N processes, whose ranks each write what they hold. Run by test_ranks.

python -m tests.engine.fit_over_ranks PROCESSES MONITOR TEACHER FOLDER
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import lightning as L
import torch

from tests.toy import toy_data, toy_encoders
from xdistill.data.cache import cache_teacher
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.engine.weights import beside_student
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.khn import KHN

BATCH = 12  # of all processes together


class Broken(L.Callback):
    """One rank's student becomes NaN."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1 and trainer.global_rank == trainer.world_size - 1:
            pl_module.distiller.student.body.weight.data.fill_(torch.nan)


def digest(tensors) -> str:
    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hasher.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def main(processes: int, monitor: str, kind: str, folder: Path) -> None:
    torch.manual_seed(0)
    student, teacher = toy_encoders()
    student.dropout.p = teacher.dropout.p = 0.0
    if kind != "norm":  # whose statistics are those of a process's own rows
        student.norm = teacher.norm = torch.nn.Identity()
    data, val = toy_data(48), toy_data(31, seed=1)
    if kind == "cached":
        teacher.eval()
        data = cache_teacher(data, teacher, "rich", root=folder / "cache")
    gather = "all" if processes > 1 else "none"
    # khn mines in a process's own rows: it is here for its bank, which holds those of all.
    khn = KHN(bank_size=24, num_negatives=2)
    loss = CrossEntropy() + InfoNCE(gather=gather) + 1e-9 * khn
    distiller = Distiller(student, teacher, loss, train_teacher=kind == "training")
    result = fit(
        distiller,
        paired_loader(data, BATCH // processes),
        paired_loader(val, 8),
        max_epochs=4,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        monitor=monitor,
        accelerator="cpu",
        devices=processes,
        enable_progress_bar=False,
        callbacks=[Broken()] if kind == "broken" else None,
    )
    rank = int(os.environ.get("LOCAL_RANK", 0))
    found = {
        "history": result.history,
        "best_epoch": result.best_epoch,
        "best_value": result.best_value,
        "student": digest(student.state_dict()),
        "beside": digest(dict(beside_student(distiller))),
        "weights": {name: one.tolist() for name, one in student.state_dict().items()},
        "bank": {
            name: sorted(buffer.flatten().tolist())
            for name, buffer in loss.named_buffers()
            if "bank" in name and buffer.is_floating_point()
        },
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
