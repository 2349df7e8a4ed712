"""An embedded sample in S3VE's layout: simulated sleepers, generated in under a minute.

The pixels and the microvolts are simulated (`sim_hypnogram`, `sim_eeg`, `sim_infrared`); what a
method gains here is no evidence about people. The sample runs the same code path as the gated
data, and its difficulty is that of physiology: epochs between two stages, scorers' errors, and
sleepers who differ. Its parameters are frozen: a change needs a new ``VERSION``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import numpy as np

from xdistill.data.files.clips import write_clip
from xdistill.data.simulation.eeg import render_eeg
from xdistill.data.simulation.hypnogram import EPOCH_S, STAGES, simulate_night
from xdistill.data.simulation.infrared import film_night
from xdistill.data.store import STALE_AFTER_S
from xdistill.data.store import default_root as cache_root

VERSION = 1
ANNOTATIONS = "s3ve.json"
MARKER = "complete.json"


@dataclass(frozen=True)
class SampleConfig:
    """What the sample consists of.

    Attributes:
        seed: everything follows from it.
        subjects: simulated sleepers, one night each; a fifth each is for validation and testing.
        clips_per_night: clips of 30 s per sleeper, evenly over the night.
        night_epochs: length of the night in epochs of 30 s.
    """

    seed: int = 220805814
    subjects: int = 20
    clips_per_night: int = 240
    night_epochs: int = 960

    def __post_init__(self):
        if self.subjects < 3:
            raise ValueError(
                f"the S3VE sample needs at least 3 subjects, one for each subset, got "
                f"{self.subjects}"
            )
        if not 1 <= self.clips_per_night <= self.night_epochs:
            raise ValueError(
                f"a night of {self.night_epochs} epochs holds 1 to {self.night_epochs} clips, got "
                f"clips_per_night={self.clips_per_night}"
            )

    @property
    def checksum(self) -> str:
        """Names this sample: version and parameters."""
        return sha256(json.dumps([VERSION, asdict(self)]).encode()).hexdigest()[:16]

    def subset(self, subject: int) -> str:
        """Which subset a sleeper belongs to: the last two fifths are held out."""
        held_out = max(1, self.subjects // 5)
        if subject >= self.subjects - held_out:
            return "testing"
        return "validation" if subject >= self.subjects - 2 * held_out else "training"


def default_root() -> Path:
    """``$XDISTILL_CACHE/s3ve_sample-v1``, or the same under ``~/.cache/xdistill``."""
    return cache_root(f"s3ve_sample-v{VERSION}")


def generate(
    root: str | Path | None = None, config: SampleConfig | None = None, *, workers: int = 2
) -> Path:
    """Returns the folder of a complete sample; generates it first unless it is there.

    Args:
        root: the sample's folder; `default_root()` when None.
        config: sizes and seed; the default takes about 200 MB.
        workers: processes that simulate sleepers.

    The sample is written to a sibling folder that is renamed when it is complete, so ``root``
    never holds half a sample.

    Raises:
        ValueError: ``root`` exists and is not this sample.
    """
    root = default_root() if root is None else Path(root)
    config = config or SampleConfig()
    if is_complete(root, config):
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


def _check_free(root: Path) -> None:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(
            f"{root} exists and is not the S3VE sample of version {VERSION} with these parameters; "
            "name another folder or delete that one"
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
    for modality in ("video", "eeg"):
        for label in STAGES:
            (root / modality / label).mkdir(parents=True)
    nights = _write_nights_in_parallel(root, config, max(1, min(workers, config.subjects)))
    database = {clip: night[clip] for night in nights for clip in sorted(night)}
    annotations = {"labels": list(STAGES), "database": database}
    (root / ANNOTATIONS).write_text(json.dumps(annotations, indent=1))
    marker = {"version": VERSION, "checksum": config.checksum, "parameters": asdict(config)}
    (root / MARKER).write_text(json.dumps(marker, indent=1))


def _write_nights_in_parallel(root: Path, config: SampleConfig, workers: int) -> list[dict]:
    """Shares the sleepers out between this process and ``workers - 1`` others; in their order.

    The others are plain interpreters: a process pool would either fork the caller's threads or run
    the caller's script again.
    """
    shares = [range(first, config.subjects, workers) for first in range(workers)]
    others = [_start_worker(root, config, share) for share in shares[1:]]
    try:
        found = {subject: _write_night(root, config, subject) for subject in shares[0]}
        for worker in others:
            output, errors = worker.communicate()
            if worker.returncode:
                raise RuntimeError(f"a process that simulates sleepers failed:\n{errors}")
            found |= {int(subject): night for subject, night in json.loads(output).items()}
    finally:
        for worker in others:
            worker.kill()
            worker.wait()
    return [found[subject] for subject in range(config.subjects)]


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
    """What a worker process runs: prints the annotations of its sleepers as JSON."""
    root, config, subjects = json.loads(sys.argv[1])
    config = SampleConfig(**config)
    print(json.dumps({subject: _write_night(Path(root), config, subject) for subject in subjects}))


def _write_night(root: Path, config: SampleConfig, subject: int) -> dict[str, dict]:
    """Simulates and writes one sleeper; returns the annotations of the clips."""
    seed = np.random.SeedSequence(config.seed, spawn_key=(subject,))
    sleep_rng, eeg_rng, video_rng = map(np.random.default_rng, seed.spawn(3))
    night = simulate_night(sleep_rng, config.night_epochs)
    keep = np.linspace(0, config.night_epochs, config.clips_per_night, endpoint=False).astype(int)
    eeg = render_eeg(eeg_rng, night.state[keep], night.depth[keep], night.arousal[keep])
    video = film_night(video_rng, night.state, night.depth, night.arousal, keep)
    name = f"s{subject + 1:02d}"
    entries = {}
    for epoch, wave, clip in zip(keep.tolist(), eeg, video, strict=True):
        label = STAGES[night.stage[epoch]]
        clip_id = f"{name}_{epoch:04d}"
        np.save(root / "eeg" / label / f"{clip_id}.npy", wave)
        write_clip(root / "video" / label / f"{clip_id}.hdf5", clip)
        entries[clip_id] = {
            "subset": config.subset(subject),
            "subject": name,
            "night_s": epoch * EPOCH_S,
            "annotations": {"label": label, "segment": [1, len(clip) + 1]},
        }
    return entries
