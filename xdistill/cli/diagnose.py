"""The command `xdistill diagnose`: will distillation help on a setting, with so many labels?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args


def add_diagnose(commands: Any) -> None:
    """Add the command and its options to the parser's commands."""
    from xdistill.experiment.case import Case

    parser = commands.add_parser(
        "diagnose", help="will distillation help? Probes of a setting, before a student is trained"
    )
    parser.add_argument("setting", help="a registered setting; `xdistill list settings`")
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="default: data")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/diagnose"),
        help="where the teacher is trained, or was (default: runs/diagnose)",
    )
    parser.add_argument("--labels", type=float, default=0.02, help="share shown (default: 0.02)")
    parser.add_argument("--groups", type=int, help="number of subjects that are labelled")
    parser.add_argument("--case", choices=get_args(Case), default="transfer", help="of the teacher")
    parser.add_argument(
        "--teacher-share", type=float, default=0.5, help="set aside for the teacher"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")


def run_diagnose(options: argparse.Namespace) -> int:
    """Train the teacher or read it, and print what the probes say.

    Raises:
        ValueError: an unknown setting, or labels that leave nothing to learn from.
    """
    from xdistill.diagnosis import diagnose
    from xdistill.experiment.experiment import Experiment
    from xdistill.experiment.settings import chosen_settings

    found = chosen_settings((options.setting,))
    if len(found) > 1:
        raise ValueError(f"{options.setting!r} has the settings {sorted(found)}; name one of them")
    ((name, setting),) = found.items()
    if options.case == "transfer" and setting.teacher_load is None:
        setting = replace(setting, teacher_share=options.teacher_share)
    experiment = Experiment(name, options.out / name, setting, data_root=options.data_root)
    seed = options.seed
    val = experiment.splits(seed).val
    shown = {"labels": options.labels, "groups": options.groups, "case": options.case}
    train, teachers = experiment.pairs(experiment.trial("kd", seed, **shown))
    modality = next(iter(teachers))
    student = experiment.network(setting.student, seed)
    print(f"{name}: {setting.student} taught by {modality}, {options.case} teacher, seed {seed}")
    print(diagnose(student, teachers[modality], train, val))
    return 0
