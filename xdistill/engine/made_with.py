"""What a run is made with, so that it is not continued with something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from xdistill.data.digest import data_digest
from xdistill.distiller import Distiller

TRAINER = ("precision", "accumulate_grad_batches", "gradient_clip_val", "limit_train_batches")
"""Options of the trainer that change the numbers of a run."""

PLACE = re.compile(r" at 0x[0-9a-f]+|\w*Path\('[^']*'\)")
"""Where an object or a file of a loss lies, which changes no number."""


def made_with(
    distiller: Distiller,
    train: DataLoader,
    val: DataLoader | None,
    options: Mapping[str, Any],
) -> dict[str, str]:
    """Networks, loss, data and options of a run, in words.

    Args:
        distiller: what is trained.
        train: the training loader.
        val: the validation loader.
        options: further arguments of `fit` that its numbers depend on. Of a function, the name
            counts, not what it does.
    """
    losses = ", ".join(f"{name}: {loss!r}" for name, loss in distiller.losses.items())
    batches = None if train.batch_size is None else f"{train.batch_size} rows"
    found = {
        "student": _network(distiller.student),
        **{f"teacher {name!r}": _network(one) for name, one in distiller.teachers.items()},
        "loss": PLACE.sub("", " ".join(losses.split())),
        "batch size": str(batches),
        "training data": data_digest(train.dataset),
        **{name: _word(one) for name, one in options.items()},
    }
    return found | ({} if val is None else {"validation data": data_digest(val.dataset)})


def check_made_with(before: Mapping[str, str], now: Mapping[str, str], where: object) -> None:
    """Refuse to go on with a run with something else than what it was made with.

    Raises:
        ValueError: anything differs.
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        told = "; ".join(
            f"{name} was {before.get(name, 'not given')}, now {now.get(name, 'not given')}"
            for name in names
        )
        raise ValueError(
            f"the run in {where} was made with something else: {told}. Give the same to go on with "
            "it, or choose another run_dir for a new run"
        )


def _network(module: nn.Module) -> str:
    shapes = [f"{name} {list(one.shape)}" for name, one in module.state_dict().items()]
    digest = blake2b(";".join(shapes).encode(), digest_size=4).hexdigest()
    count = sum(one.numel() for one in module.parameters())
    return f"{type(module).__name__} of {count} parameters ({digest})"


def _word(one: Any) -> str:
    return getattr(one, "__qualname__", None) or PLACE.sub("", repr(one))
