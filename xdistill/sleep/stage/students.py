"""The student that a path names."""

from __future__ import annotations

from pathlib import Path

from xdistill.sleep.stage.onnx_student import OnnxStager
from xdistill.sleep.stage.stager import Stager


def load_stager(model: Path, student: str | None = None, seed: int = 0) -> Stager:
    """A student of a run's folder, or an exported one.

    Args:
        model: folder of a run of `xdistill train`, or a file that `xdistill export` wrote as ONNX.
        student: method of the run's student; None is the one that validation preferred.
        seed: which of the method's.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ImportError: a library is missing.
        ValueError: it is no sleep stager, or the student does not exist.
    """
    if model.suffix == ".onnx" or model.is_file():
        if student is not None or seed:
            raise ValueError(f"{model} holds one student; leave out --student and --seed")
        return OnnxStager(model)
    if not model.is_dir():
        raise FileNotFoundError(
            f"there is no run {model}; name the folder that `xdistill train` wrote, or a file of "
            "`xdistill export`"
        )
    from xdistill.sleep.model import load_night_model
    from xdistill.sleep.stage.facts import student_facts, trained_text
    from xdistill.sleep.stage.torch_student import TorchStager

    night = load_night_model(model, student, seed)
    trained = trained_text(model, night)
    return TorchStager(
        night, student_facts(str(model), trained, night.held_out, night.training_signals)
    )
