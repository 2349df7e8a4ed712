"""A sample in S3VE's layout: simulated sleepers, generated in under a minute.

The pixels and the microvolts are simulated (`hypnogram`, `eeg` and `infrared` in this package), so
what a method gains here is no evidence about people. The sample takes the same code path as the
gated data and has the difficulties of real sleep: epochs between two stages, scorers' errors, and
sleepers who differ. Its content is fixed: a change of it needs a new ``VERSION``.

Beside it, in the folder ``ELSEWHERE``, are other sleepers in the same layout, of whom there is EEG
but no film: the corpus of another laboratory, on which a teacher can be trained. That laboratory
has another derivation and another amplifier (`elsewhere`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from xdistill.data.simulation.config import VERSION, SampleConfig
from xdistill.data.simulation.nights import ELSEWHERE, write_night
from xdistill.data.sleep_stages import STAGES
from xdistill.data.store import STALE_AFTER_S
from xdistill.data.store import default_root as cache_root
from xdistill.storage.checksums import of_file

ANNOTATIONS = "s3ve.json"
MARKER = "complete.json"
FILES = "files"
"""The marker's entry with the checksum of every other file."""


def default_root() -> Path:
    """``$XDISTILL_CACHE/s3ve_sample-v3``, or the same under ``~/.cache/xdistill``."""
    return cache_root(f"s3ve_sample-v{VERSION}")


def generate(
    root: str | Path | None = None, config: SampleConfig | None = None, *, workers: int = 2
) -> Path:
    """The folder of a complete sample, which is generated first unless it is there.

    Args:
        root: the sample's folder; `default_root()` when None.
        config: sizes and seed; the default takes about 260 MB.
        workers: number of processes that simulate sleepers.

    The sample is written to a sibling folder that is renamed when it is complete, so ``root``
    never holds half a sample. Every file of one that is there is compared with its checksum.

    Raises:
        ValueError: ``root`` exists and is not this sample, or a file in it is missing or damaged.
    """
    root = default_root() if root is None else Path(root)
    config = config or SampleConfig()
    if is_complete(root, config):
        _check_files(root)
        return root
    _check_free(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(root)
    partial = root.with_name(f"{root.name}.partial-{uuid4().hex}")
    try:
        _write_sample(partial, config, workers)
        return _publish(partial, root, config)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_complete(root: Path, config: SampleConfig) -> bool:
    """Whether the folder holds the whole sample with exactly these parameters."""
    try:
        return json.loads((root / MARKER).read_text())["checksum"] == config.checksum
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_files(root: Path) -> None:
    files = json.loads((root / MARKER).read_text()).get(FILES, {})
    damaged = [
        name
        for name, checksum in files.items()
        if not (root / name).is_file() or of_file(root / name) != checksum
    ]
    if damaged:
        raise ValueError(
            f"{len(damaged)} files of the sample in {root} are missing, damaged or changed "
            f"({', '.join(damaged[:3])}, …); delete that folder, and it is made again"
        )


def _check_free(root: Path) -> None:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(
            f"{root} exists and is not the S3VE sample of version {VERSION} with these parameters; "
            "pass another folder or delete this one"
        )


def _remove_stale(root: Path) -> None:
    """Removes what a killed generation left behind, unless it may still be running."""
    for left in root.parent.glob(f"{root.name}.partial-*"):
        if time.time() - left.stat().st_mtime > STALE_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)


def _publish(partial: Path, root: Path, config: SampleConfig) -> Path:
    try:
        os.replace(partial, root)
    except OSError:
        if not is_complete(root, config):  # else another process was faster: the same sample
            raise
    return root


def _write_sample(root: Path, config: SampleConfig, workers: int) -> None:
    for label in STAGES:
        for folder in ("video", "eeg", f"{ELSEWHERE}/eeg"):
            (root / folder / label).mkdir(parents=True)
    sleepers = config.subjects + config.teacher_subjects
    nights = _write_nights_in_parallel(root, config, max(1, min(workers, sleepers)))
    _annotate(root, nights[: config.subjects])
    _annotate(root / ELSEWHERE, nights[config.subjects :])
    marker = {"version": VERSION, "checksum": config.checksum, "parameters": asdict(config)}
    written = sorted(path for path in root.rglob("*") if path.is_file())
    marker[FILES] = {path.relative_to(root).as_posix(): of_file(path) for path in written}
    (root / MARKER).write_text(json.dumps(marker, indent=1))


def _annotate(root: Path, nights: list[dict[str, dict]]) -> None:
    database = {clip: night[clip] for night in nights for clip in sorted(night)}
    annotations = {"labels": list(STAGES), "database": database}
    (root / ANNOTATIONS).write_text(json.dumps(annotations, indent=1))


def _write_nights_in_parallel(root: Path, config: SampleConfig, workers: int) -> list[dict]:
    """Divides the sleepers among this process and ``workers - 1`` others; results in their order.

    The others are plain interpreters: a process pool would either fork the caller's threads or run
    the caller's script again.
    """
    sleepers = config.subjects + config.teacher_subjects
    shares = [range(first, sleepers, workers) for first in range(workers)]
    others = [_start_worker(root, config, share) for share in shares[1:]]
    try:
        found = {sleeper: write_night(root, config, sleeper) for sleeper in shares[0]}
        for worker in others:
            output, errors = worker.communicate()
            if worker.returncode:
                raise RuntimeError(f"a process that simulates sleepers failed:\n{errors}")
            found |= {int(sleeper): night for sleeper, night in json.loads(output).items()}
    finally:
        for worker in others:
            worker.kill()
            worker.wait()
    return [found[sleeper] for sleeper in range(sleepers)]


def _start_worker(root: Path, config: SampleConfig, share: range) -> subprocess.Popen:
    task = json.dumps([str(root), asdict(config), list(share)])
    path = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import _work; _work()", task],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _work() -> None:
    """The main function of a worker process: prints the annotations of its sleepers as JSON."""
    root, config, sleepers = json.loads(sys.argv[1])
    config = SampleConfig(**config)
    print(json.dumps({sleeper: write_night(Path(root), config, sleeper) for sleeper in sleepers}))
