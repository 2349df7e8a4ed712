"""A few clips in UTD-MHAD's files: a box that moves, a wave, and joints that swing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdistill.data.adapters.utd_mhad.clips import SOURCES
from xdistill.data.files.extra import reader


def write_utd_mhad_sample(
    root: str | Path,
    *,
    modalities: Sequence[str] = tuple(SOURCES),
    actions: Sequence[int] = (1, 6),
    subjects: Sequence[int] = range(1, 9),
    trials: Sequence[int] = (1,),
) -> Path:
    """Writes MATLAB 5 files, compressed, of every combination, in the true shapes and types.

    Args:
        root: the folder; made if it is not there.
        modalities: of "depth", "inertial" and "skeleton".
        actions: their numbers, from 1 to 27.
        subjects: their numbers, from 1 to 8.
        trials: their numbers.
    """
    io = reader("scipy.io", root, "video")

    root = Path(root)
    for modality in modalities:
        (root / SOURCES[modality].folder).mkdir(parents=True, exist_ok=True)
    for action in actions:
        for subject in subjects:
            for trial in trials:
                clip = make_clip(action, subject, trial)
                for modality in modalities:
                    variable, array = clip[modality]
                    name = f"a{action}_s{subject}_t{trial}_{modality}.mat"
                    path = root / SOURCES[modality].folder / name
                    io.savemat(path, {variable: array}, do_compression=True)
    return root


def make_clip(action: int, subject: int, trial: int) -> dict[str, tuple[str, np.ndarray]]:
    """One clip: variable name and array of each modality."""
    rng = np.random.default_rng([action, subject, trial])
    depth_frames, samples = 6 + subject % 3, 107 + 10 * subject
    depth = np.zeros((240, 320, depth_frames), np.uint16)
    for frame in range(depth_frames):
        left = 110 + 3 * frame
        depth[60:228, left : left + 70, frame] = 2800 + 10 * subject
        depth[90:110, left + 20 : left + 40, frame] = 2500 + 20 * action
    time = np.linspace(0, action, samples)[:, None]
    inertial = np.sin(time + np.arange(6)) * [1, 1, 1, 90, 90, 90]
    skeleton = rng.normal([0, 0, 2.8], [0.2, 0.5, 0.1], (20, 3))[:, :, None]
    skeleton = skeleton + 0.1 * np.sin(np.arange(depth_frames))
    return {
        "depth": ("d_depth", depth),
        "inertial": ("d_iner", inertial),
        "skeleton": ("d_skel", skeleton),
    }
