"""What a run holds, read and checked without training anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xdistill.encoders.weights_file import read_weights
from xdistill.export import CONFIG, RUN_WEIGHTS, STUDENTS, WEIGHTS, Student, load_student
from xdistill.sleep.model import FOLDS, NIGHT, NightModel, load_night_model
from xdistill.storage.json_file import CHECKSUM, read_json


class FileState(NamedTuple):
    """A file of a run.

    Attributes:
        path: below the run's folder.
        bytes: its size.
        problem: why it cannot be used; None for a whole file.
        checked: whether a checksum was compared; pictures have none.
    """

    path: str
    bytes: int
    problem: str | None
    checked: bool


class StudentState(NamedTuple):
    """A student of a run.

    Attributes:
        method: with which it was trained.
        seed: with which it was trained.
        model: it, for a whole night or, of another benchmark's run, for a sample; None where it
            cannot be loaded.
        problem: why not.
    """

    method: str
    seed: int
    model: NightModel | Student | None
    problem: str | None


class RunContents(NamedTuple):
    """What a run holds.

    Attributes:
        folder: of the run.
        config: its config.json.
        results: its results.json; empty where there is none, or a damaged one.
        students: every method and seed.
        files: all of them.
        folds: folders of a cross-validation, which are runs of their own.
    """

    folder: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    students: tuple[StudentState, ...]
    files: tuple[FileState, ...]
    folds: tuple[str, ...]

    @property
    def kept(self) -> tuple[str, int] | None:
        """Method and seed of the student that validation preferred."""
        kept = self.config.get("kept")
        return None if kept is None else (str(kept["method"]), int(kept["seed"]))

    @property
    def sound(self) -> bool:
        """Whether every file is whole, and every student can be loaded."""
        parts = (*self.files, *self.students)
        return all(one.problem is None for one in parts)


def run_contents(folder: Path) -> RunContents:
    """Read a run, check its files, and load each of its students.

    Raises:
        FileNotFoundError: there is no run, or it has not finished.
        ValueError: its config.json is damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no run {folder}; name the folder of `xdistill train`")
    folds: tuple[str, ...] = ()
    if (folder / FOLDS).is_file():
        folds = tuple(read_json(folder / FOLDS)["folds"])
    elif not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder / CONFIG} is missing, so {folder} is no run; name the folder that "
            "`xdistill train` or a benchmark wrote"
        )
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    try:
        results = read_json(folder / "results.json")
    except (FileNotFoundError, ValueError):  # the list of files says so
        results = {}
    return RunContents(
        folder,
        config,
        results,
        tuple(_students(folder, config)),
        tuple(_files(folder, config, folds)),
        folds,
    )


def _students(folder: Path, config: Mapping[str, Any]) -> list[StudentState]:
    found: list[StudentState] = []
    for method, folders in config.get(STUDENTS, {}).items():
        for seed in range(len(folders)):
            try:
                model = (
                    load_night_model(folder, method, seed)
                    if NIGHT in config
                    else load_student(folder, method=method, seed=seed)
                )
                problem = None
            except (OSError, ValueError, KeyError, TypeError) as error:
                model, problem = None, str(error)
            found.append(StudentState(method, seed, model, problem))
    return found


def _files(folder: Path, config: Mapping[str, Any], folds: tuple[str, ...]) -> list[FileState]:
    found: list[FileState] = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in folds or path.name.startswith("."):
            continue
        problem, checked = _problem(path)
        found.append(FileState(name, path.stat().st_size, problem, checked))
    there = {one.path for one in found}
    for name in _promised(config):
        if name not in there:
            found.append(FileState(name, 0, "it is missing", True))
    return found


def _promised(config: Mapping[str, Any]) -> list[str]:
    """Files without which a student of the run cannot be loaded."""
    if "encoder" not in config:
        return []
    names = [WEIGHTS]
    for folders in config.get(STUDENTS, {}).values():
        names += [f"{one}/{RUN_WEIGHTS}" for one in folders]
    for students in config.get(NIGHT, {}).get("students", {}).values():
        names += [one["context"]["head"] for one in students if one["context"].get("head")]
    return list(dict.fromkeys(names))


def _problem(path: Path) -> tuple[str | None, bool]:
    """Why a file cannot be used, and whether its checksum was compared."""
    try:
        if path.suffix == ".json":
            read_json(path, checked=False)
            return None, f'"{CHECKSUM}"' in path.read_text()
        if path.suffix == ".safetensors":
            read_weights(path, checked=True)
            return None, True
        path.open("rb").close()
    except (OSError, ValueError) as error:
        return str(error), True
    return None, False
