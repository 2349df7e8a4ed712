"""UTD-MHAD: 27 actions seen by a depth camera, a wearable inertial sensor and a skeleton tracker.

Chen, Jafari, Kehtarnavaz, "UTD-MHAD: a multimodal dataset for human action recognition utilizing a
depth camera and a wearable inertial sensor", ICIP 2015. Eight subjects repeat every action four
times. The published split trains on the odd subjects and tests on the even ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.adapters.utd_mhad.clips import (
    BACKGROUND_M,
    SOURCE,
    SOURCES,
    Clip,
    depth_column,
    find_clips,
    inertial_column,
    skeleton_column,
)
from xdistill.data.cards import DatasetCard
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.splits import Splits, split_groups
from xdistill.registry import register_dataset

ACTIONS = (
    "swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot",
    "draw x", "draw circle clockwise", "draw circle counter-clockwise", "draw triangle", "bowling",
    "boxing", "baseball swing", "tennis swing", "arm curl", "tennis serve", "push", "knock",
    "catch", "pick up and throw", "jog", "walk", "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip
SUBJECTS = tuple(range(1, 9))


CARD = DatasetCard(
    name="utd_mhad",
    pairs=tuple(permutations(("inertial", "skeleton", "depth"), 2)),
    classes=27,
    size="861 clips of eight subjects",
    licence="none stated; its authors call it freely available",
    citation="Chen, Jafari, Kehtarnavaz, UTD-MHAD, ICIP 2015",
    source_url="https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
    files=("Inertial/*.mat",),
)


@register_dataset(CARD)
def utd_mhad(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("depth", "inertial"),
    require: Sequence[str] | None = None,
    actions: Sequence[int] | None = None,
    train_subjects: str = "odd",
    val_subject: int | None = None,
    frames: int = 16,
    size: tuple[int, int] = (48, 36),
    steps: int = 160,
    max_shift_px: int = 2,
    cache: str | Path | None = None,
) -> Splits:
    """UTD-MHAD with the published split: train on odd subjects, test on even ones.

    One of the training subjects is held out for validation. Each clip is scaled by itself: no
    statistics are computed over clips, so nothing leaks from the test subjects.

    - depth [1, frames, H, W] in metres: see `depth_clip`. Training clips are shifted at random by
      up to `max_shift_px`. They are never mirrored, because a swipe to the left would become one to
      the right.
    - inertial [6, steps]: acceleration in g (3), angular velocity in degree/s (3).
    - skeleton [3, frames, 20] in metres, relative to the hip in the first frame.

    Args:
        root: folder that holds Depth, Inertial and Skeleton, as far as they are asked for.
        modalities: of "depth", "inertial" and "skeleton".
        require: modalities that a row must have; all of `modalities` when None. A row that lacks
            one of the others is kept and marked in `valid`, and a warning counts such rows.
        actions: numbers from 1 to 27 of the actions to keep; all that occur when None.
        train_subjects: "odd", or "even" for the reversed split.
        val_subject: held out of the training subjects; 7 (or 8) when None.
        frames: frames of a depth or skeleton clip.
        size: height and width of a depth frame in pixels; 4 to 3 keeps the proportions.
        steps: samples of an inertial clip.
        max_shift_px: 0 turns off the augmentation of the depth clips.
        cache: folder for decoded depth clips; `default_root("utd_mhad")` when None.

    Raises:
        FileNotFoundError: a folder or all of its files are missing; the message says where to get
            the data.
        ValueError: an option is out of range, or a file is damaged or has another layout.
    """
    _check_sizes(frames, *size, steps)
    modalities = check_modalities(modalities, SOURCES)
    require = modalities if require is None else check_modalities(require, SOURCES)
    train, val, test = _parts(train_subjects, val_subject)
    names = tuple(dict.fromkeys([*modalities, *require]))
    found = {name: find_clips(Path(root).expanduser(), name) for name in names}
    clips = _choose(found, require, actions)
    decode = {
        "depth": lambda files: depth_column(files, frames, size, cache),
        "inertial": lambda files: inertial_column(files, steps),
        "skeleton": lambda files: skeleton_column(files, frames),
    }
    columns, valid = {}, {}
    for name in modalities:
        has = _has(name, clips, found[name])
        columns[name] = _spread(
            decode[name]([found[name][c] for c in clips if c in found[name]]), has
        )
        valid |= {} if bool(has.all()) else {name: has}
    dataset = _dataset(clips, columns, valid)
    splits = split_groups(dataset, train=train, val=val, test=test)
    if "depth" not in modalities or not max_shift_px:
        return splits
    shifted = splits.train.replace(
        transforms={**splits.train.transforms, "depth": RandomShift(max_shift_px)}
    )
    return splits._replace(train=shifted)


class RandomShift:
    """Shifts a clip [C, T, H, W] at random by up to ``max_px`` pixels, all frames alike.

    Half precision becomes float32.
    """

    def __init__(self, max_px: int, fill: float = BACKGROUND_M):
        self.max_px = max_px
        self.fill = fill

    def __call__(self, clip: Tensor) -> Tensor:
        down, across = torch.randint(0, 2 * self.max_px + 1, (2,)).tolist()
        padded = F.pad(clip.float(), [self.max_px] * 4, value=self.fill)
        height, width = clip.shape[-2:]
        return padded[..., down : down + height, across : across + width]


def _parts(train_subjects: str, val_subject: int | None) -> tuple[list[int], list[int], list[int]]:
    if train_subjects not in ("odd", "even"):
        raise ValueError(f"train_subjects is 'odd' or 'even', got {train_subjects!r}")
    remainder = 1 if train_subjects == "odd" else 0
    train = [subject for subject in SUBJECTS if subject % 2 == remainder]
    val_subject = train[-1] if val_subject is None else val_subject
    if val_subject not in train:
        raise ValueError(f"val_subject is one of the training subjects {train}, got {val_subject}")
    test = [subject for subject in SUBJECTS if subject not in train]
    return [subject for subject in train if subject != val_subject], [val_subject], test


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"frames, size and steps are 1 or more, got {sizes}")


def _choose(
    found: dict[str, dict[Clip, Path]], require: Sequence[str], actions: Sequence[int] | None
) -> list[Clip]:
    clips = sorted(set.intersection(*(set(found[name]) for name in require)))
    wanted = range(1, len(ACTIONS) + 1) if actions is None else actions
    clips = [clip for clip in clips if clip.action in wanted]
    missing = set(SUBJECTS) - {clip.subject for clip in clips}
    if missing:
        raise FileNotFoundError(
            f"no clip of subject {sorted(missing)} with {', '.join(require)}; the published split "
            f"needs subjects 1 to 8. {SOURCE}"
        )
    return clips


def _has(modality: str, clips: list[Clip], files: dict[Clip, Path]) -> Tensor:
    """Which clips have a file of the modality; a warning counts the others."""
    missing = [clip for clip in clips if clip not in files]
    if len(missing) == len(clips):
        raise FileNotFoundError(f"none of {len(clips)} clips has a {modality} file. {SOURCE}")
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(clips)} clips have no {modality} file (first: "
            f"{missing[0].id}); they are used without {modality}",
            stacklevel=3,
        )
    return torch.tensor([clip in files for clip in clips])


def _spread(rows: Tensor, has: Tensor) -> Tensor:
    """The rows at the places where `has` is True, zeros elsewhere."""
    column = rows.new_zeros(len(has), *rows.shape[1:])
    column[has] = rows
    return column


def _dataset(
    clips: list[Clip], columns: dict[str, Tensor], valid: dict[str, Tensor]
) -> PairedDataset:
    actions = sorted({clip.action for clip in clips})
    return PairedDataset(
        columns,
        [actions.index(clip.action) for clip in clips],
        classes=[ACTIONS[action - 1] for action in actions],
        group=[clip.subject for clip in clips],
        valid=valid,
        transforms={"depth": Tensor.float} if "depth" in columns else {},
        ids=[clip.id for clip in clips],
    )
