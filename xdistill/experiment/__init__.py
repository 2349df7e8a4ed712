"""Experiments: teachers, the student alone, and students with methods, over seeds and settings."""

from xdistill.experiment.benchmark import Night, run_benchmark
from xdistill.experiment.case import CASES, Case
from xdistill.experiment.experiment import Experiment
from xdistill.experiment.hardware import Hardware
from xdistill.experiment.methods import ALONE, BASELINES, LABELLED, UNTAUGHT, create_losses
from xdistill.experiment.options import Options, cli
from xdistill.experiment.run_folder import Failure, Result
from xdistill.experiment.setting import Setting, get_setting, register_setting
from xdistill.experiment.suite import SuiteOptions, run_suite
from xdistill.experiment.trial import TeacherTrial, Trial
from xdistill.registry import list_settings

__all__ = [
    "ALONE",
    "BASELINES",
    "CASES",
    "LABELLED",
    "UNTAUGHT",
    "Case",
    "Experiment",
    "Failure",
    "Hardware",
    "Night",
    "Options",
    "Result",
    "Setting",
    "SuiteOptions",
    "TeacherTrial",
    "Trial",
    "cli",
    "create_losses",
    "get_setting",
    "list_settings",
    "register_setting",
    "run_benchmark",
    "run_suite",
]
