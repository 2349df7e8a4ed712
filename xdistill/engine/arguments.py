"""What `fit` is called with by mistake."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from xdistill.distiller import Distiller


def check_arguments(distiller: Any, train_loader: Any, val_loader: Any) -> None:
    """Refuse a student without its Distiller, and datasets without their loaders.

    Raises:
        TypeError: says what to pass.
    """
    if not isinstance(distiller, Distiller):
        made = "xd.Distiller(student, teacher, loss)"
        kind = "a network" if isinstance(distiller, nn.Module) else f"a {type(distiller).__name__}"
        raise TypeError(
            f"fit trains an xd.Distiller, got {kind} ({type(distiller).__name__}); pass {made}, or "
            "xd.Distiller(student, None, xd.CrossEntropy()) for a student that learns alone"
        )
    for name, loader in (("train_loader", train_loader), ("val_loader", val_loader)):
        if loader is None and name == "val_loader":
            continue
        if not isinstance(loader, DataLoader):
            shuffle = ", shuffle=True" if name == "train_loader" else ""
            raise TypeError(
                f"{name} is a {type(loader).__name__}, expected a DataLoader; pass "
                f"xd.paired_loader(dataset, batch_size=64{shuffle})"
            )
