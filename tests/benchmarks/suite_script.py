"""A script that runs the suite on two tiny settings, with methods that fail in several ways.

Its worker processes import it too, and so know the settings and the methods.
"""

import os
from pathlib import Path

import torch

import xdistill as xd
from xdistill.experiment import Setting, SuiteOptions, cli, register_setting
from xdistill.experiment.suite import main


def tiny(root: Path, split: int) -> xd.Splits:
    rows = {"train_rows": 40, "val_rows": 40, "test_rows": 40}
    return xd.create_dataset("mfh_gaussian", gamma=0.54, seed=split, **rows)


def subjects(root: Path, split: int) -> xd.Splits:
    """The same with four rows a subject."""
    parts = enumerate(tiny(root, split))
    return xd.Splits(
        *(part.replace(group=100 * at + torch.arange(len(part)) // 4) for at, part in parts)
    )


def absent(root: Path, split: int) -> xd.Splits:
    raise FileNotFoundError(f"{root / 'absent.csv'} is missing")


for name, load in (("tiny-a", tiny), ("tiny-b", subjects), ("absent", absent)):
    setting = Setting(
        load,
        {"teacher": "mlp"},
        "student",
        own_splits=name != "tiny-b",
        epochs=2,
        teacher_epochs=2,
        batch_size=16,
        labelled_per_batch=4,
        few_labels=0.2,
        folds=3,
    )
    register_setting(name, setting)


class Trouble(xd.Loss):
    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return student.embedding.sum() * self.trouble()


@xd.register_loss("dies")
class Dies(Trouble):
    name = "dies"

    def trouble(self) -> float:
        os._exit(3)


@xd.register_loss("nan")
class NaN(Trouble):
    name = "nan"

    def trouble(self) -> float:
        return float("nan")


@xd.register_loss("raises")
class Raises(Trouble):
    name = "raises"

    def trouble(self) -> float:
        raise RuntimeError("no such thing")


if __name__ == "__main__":
    cli(main, SuiteOptions)
