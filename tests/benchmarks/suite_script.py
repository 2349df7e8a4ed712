"""A script that runs the suite on two tiny settings, with methods that fail in several ways.

Its processes import it too, and so know the settings and the methods.
"""

import os
import sys
from pathlib import Path

import tyro

import xdistill as xd

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from suite_settings import SETTINGS, Setting


def tiny(root: Path, split: int) -> xd.Splits:
    rows = {"train_rows": 40, "val_rows": 40, "test_rows": 40}
    return xd.create_dataset("mfh_gaussian", gamma=0.54, seed=split, **rows)


def absent(root: Path, split: int) -> xd.Splits:
    raise FileNotFoundError(f"{root / 'absent.csv'} is missing")


for name, load in (("tiny-a", tiny), ("tiny-b", tiny), ("absent", absent)):
    SETTINGS[name] = Setting(
        load,
        {"teacher": "mlp"},
        "student",
        own_splits=name != "tiny-b",
        epochs=2,
        teacher_epochs=2,
        batch_size=16,
    )


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
    from suite import SuiteOptions, main

    main(tyro.cli(SuiteOptions))
