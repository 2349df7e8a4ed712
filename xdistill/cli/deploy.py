"""The command `xdistill export`: a student as one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from xdistill.deploy import Format, export


def add_export(commands: Any) -> None:
    """Add the command's options to a parser's commands."""
    deploy = commands.add_parser(
        "export", help="the student of a run as one file: ONNX, or a program of torch.export"
    )
    deploy.add_argument("run", type=Path, nargs="?", help="run folder with student.safetensors")
    deploy.add_argument("path", type=Path, nargs="?", help="the file to write")
    deploy.add_argument("--model", type=Path, help="the run folder, as `xdistill stage` names it")
    deploy.add_argument(
        "--out", type=Path, help="the file to write (default: student.onnx or .pt2 in the run)"
    )
    deploy.add_argument("--format", choices=get_args(Format), default="onnx", help="default: onnx")
    deploy.add_argument(
        "--input-shape",
        type=int,
        nargs="+",
        help="shape of one sample without the batch axis, as in 1 30 24 24; a run of `xdistill "
        "train` knows its own",
    )
    deploy.add_argument("--student", help="method of a run of `xdistill train` (default: its best)")
    deploy.add_argument("--seed", type=int, default=0, help="which of the method's students")


def run_export(options: argparse.Namespace) -> int:
    """Write the file.

    Raises:
        FileNotFoundError: there is no such run.
        ImportError: a library is missing.
        ValueError: options that contradict each other, or a student that cannot be exported.
    """
    run = _one(options.run, options.model, "the run folder", "--model")
    path = _one(options.path, options.out, "the file to write", "--out")
    if run is None:
        raise ValueError("name the run folder: xdistill export --model RUN")
    # only where it is asked for: the sleep package is large
    from xdistill.sleep.stage.export import ENDINGS, export_night_model, is_night_run

    if is_night_run(run):
        if options.input_shape is not None:
            raise ValueError(f"{run} is a sleep stager and knows its input; omit --input-shape")
        student, seed = options.student, options.seed
        written = export_night_model(run, path, options.format, student=student, seed=seed)
    elif options.input_shape is None:
        raise ValueError(
            f"--input-shape is missing: {run} is no run of `xdistill train`, so the shape of a "
            "sample is not known"
        )
    elif options.student is not None or options.seed:
        raise ValueError(f"{run} is no run of `xdistill train`; omit --student and --seed")
    else:
        path = path or run / f"student{ENDINGS[options.format]}"
        written = export(run, path, options.format, input_shape=options.input_shape)
    print(f"written: {written}")
    return 0


def _one(positional: Path | None, named: Path | None, what: str, flag: str) -> Path | None:
    if positional is not None and named is not None:
        raise ValueError(f"{what} is named twice: {positional}, and {flag} {named}")
    return positional if named is None else named
