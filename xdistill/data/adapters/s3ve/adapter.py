"""S3VE: sleep staging from infrared video (student) with EEG (teacher).

Han et al., "Seeing your Sleep Stage: Cross-modal Distillation from EEG to Infrared Video" (arXiv
2208.05814): 105 sleepers, 154,573 clips of about 30 s, five stages. The release is gated, and the
layout of the raw clips is taken from the authors' public code: it is **unverified** against the
release itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from xdistill.data.adapters.s3ve.eeg import FEATURES, holds_features, read_epoch
from xdistill.data.adapters.s3ve.index import (
    LAYOUTS,
    OWNER,
    SUBSETS,
    TABLE,
    Clip,
    check_files,
    read_annotations,
    read_table,
)
from xdistill.data.cards import DatasetCard
from xdistill.data.files.arrays import read_features
from xdistill.data.files.clips import ClipColumn
from xdistill.data.files.file_column import FileColumn
from xdistill.data.options import check_frames, check_modalities, check_share
from xdistill.data.paired import PairedDataset
from xdistill.data.simulation.sample import generate
from xdistill.data.sleep_stages import STAGES
from xdistill.data.splits import Splits, split_by_group
from xdistill.numerics import GIB
from xdistill.registry import register_dataset

CARD = DatasetCard(
    name="s3ve",
    pairs=(("eeg", "video"), ("eeg_features", "video_features")),
    classes=len(STAGES),
    size="105 sleepers, 154,573 clips of 30 s; its sample: 20 simulated sleepers, 4,800 clips",
    licence="on request, for research; the sample is generated",
    citation="Han et al., Seeing your Sleep Stage: Cross-modal Distillation from EEG to Infrared "
    "Video, arXiv 2208.05814, 2022",
    source_url="https://arxiv.org/abs/2208.05814",
    files=("video/*/*", "eeg/*/*"),
)
EEG = ("eeg", "eeg_features")
MODALITIES = {"clips": ("video", *EEG), "features": ("video_features", "eeg_features")}


@register_dataset(CARD)
def s3ve(
    root: str | Path | None = None,
    *,
    layout: Literal["clips", "features", "sample"] | None = None,
    modalities: Sequence[str] | None = None,
    split: Literal["published", "subjects"] | None = None,
    subject_pattern: str | None = None,
    allow_leak: bool = False,
    frames: int | None = None,
    size: int | None = None,
    channels: int = 1,
    eeg_samples: int = 3000,
    max_lost: float = 0.0,
    allow_outside: bool = False,
    keep_gib: float = 1.0,
    seed: int = 0,
) -> Splits:
    """S3VE, or its simulated sample, as three paired datasets.

    Rows are in the order of subject and time, so a subject's rows are its hypnogram. Classes are
    W, N1, N2, N3 and REM, whichever of `xdistill.data.sleep_stages.SYNONYMS` the files use.

    - ``video`` float32 [C, T, H, W] from 0 to 1, neither centred nor scaled further.
    - ``eeg`` float32 [C, 3000] in the unit of the file (the sample: µV), or ``eeg_features``
      float32 [512], whichever the files hold.
    - In the layout "features", ``video_features`` and ``eeg_features`` float32 [D].

    Args:
        root: the dataset's folder; for the sample, where to generate it. None is the sample in the
            cache folder.
        layout: "clips", "features" (see `LAYOUTS`) or "sample". None is "sample" without a root,
            otherwise "clips".
        modalities: of the columns that the layout has. None is video and EEG, as raw epochs or
            features, whichever the first EEG file holds.
        split: "published" takes the subsets of the annotations, "subjects" draws subjects by
            ``seed``. None is "published", or "subjects" for "features", which has no subsets.
        subject_pattern: regular expression whose first group in a clip's id is its subject, for
            annotations without the key "subject" (the public ones have none).
        allow_leak: a subject in two subsets gives a warning instead of an error.
        frames: frames of a clip, spread evenly. None is 16; for the sample all 30.
        size: side of a frame in pixels. None is 112; for the sample 48.
        channels: 1 for grey, 3 for RGB.
        eeg_samples: length of a raw EEG epoch.
        max_lost: the share of a film that may be missing from what its container promises; a
            warning says how much is, more is an error.
        allow_outside: follow ids, labels, paths and HDF5 links that lead out of the root.
        keep_gib: rows of a modality stay in memory if all of them fit into this many GiB.
        seed: decides the split "subjects".

    Raises:
        FileNotFoundError: the annotations or a clip's video are missing.
        ValueError: an option is out of range, the annotations contradict themselves, or a subject
            or label is unknown.
    """
    layout = layout or ("sample" if root is None else "clips")
    if layout == "sample":
        root, layout = generate(root), "clips"
        frames = 30 if frames is None else frames
        size = 48 if size is None else size
    frames, size = 16 if frames is None else frames, 112 if size is None else size
    _check_options(layout, split, frames, size, channels)
    check_share(max_lost)
    if root is None:
        raise ValueError(f"layout {layout!r} needs the dataset's root: {LAYOUTS[layout]}. {OWNER}")
    root = Path(root).expanduser()
    if layout == "features":
        clips = read_table(root / TABLE, allow_outside=allow_outside)
    else:
        clips = read_annotations(root, subject_pattern, allow_outside=allow_outside)
    names = _check_modalities(layout, modalities, clips, eeg_samples)
    check_files(clips, layout, names)
    shape = {"frames": frames, "size": size, "channels": channels}
    shape |= {"max_lost": max_lost, "allow_outside": allow_outside}
    columns = {
        name: _column(name, layout, clips, keep_gib * GIB, eeg_samples, shape) for name in names
    }
    dataset = _paired(clips, columns)
    if (split or ("subjects" if layout == "features" else "published")) == "subjects":
        return split_by_group(dataset, seed=seed)
    return _published_split(dataset, clips, allow_leak)


def _check_options(layout: str, split: str | None, frames: int, size: int, channels: int) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is unknown, expected 'clips', 'features' or 'sample'")
    if split not in (None, "published", "subjects"):
        raise ValueError(f"split is 'published', 'subjects' or None, got {split!r}")
    check_frames(frames, size, channels)


def _check_modalities(
    layout: str, modalities: Sequence[str] | None, clips: Sequence[Clip], eeg_samples: int
) -> tuple[str, ...]:
    """The columns of the dataset; without a choice, EEG is named by what its first file holds."""
    if modalities is None and layout == "features":
        return MODALITIES[layout]
    if modalities is None:
        first = next((clip.eeg for clip in clips if clip.eeg is not None), None)
        features = first is not None and holds_features(first, eeg_samples)
        return ("video", "eeg_features" if features else "eeg")
    names = check_modalities(modalities, MODALITIES[layout])
    if {"eeg", "eeg_features"} <= set(names):
        raise ValueError(
            "a file of EEG holds either a raw epoch or features, got modalities with both 'eeg' "
            "and 'eeg_features'; name one of them"
        )
    return names


def _column(
    name: str,
    layout: str,
    clips: Sequence[Clip],
    keep_bytes: float,
    eeg_samples: int,
    shape: dict[str, Any],
) -> ClipColumn | FileColumn:
    if name == "video":
        paths = [clip.video for clip in clips if clip.video]
        segments = [clip.segment for clip in clips]
        return ClipColumn(paths, segments, keep_bytes=keep_bytes, **shape)
    files = [clip.eeg if name in EEG else clip.video for clip in clips]
    read = partial(read_features, width=FEATURES if layout == "clips" else None)
    if name == "eeg":
        read = partial(read_epoch, samples=eeg_samples)
    return FileColumn(files, read, keep_bytes=keep_bytes)


def _paired(clips: Sequence[Clip], columns: dict[str, Any]) -> PairedDataset:
    subjects = sorted({clip.subject for clip in clips})
    number = {subject: place for place, subject in enumerate(subjects)}
    has_eeg = torch.tensor([clip.eeg is not None for clip in clips])
    incomplete = [] if bool(has_eeg.all()) else [name for name in columns if name in EEG]
    return PairedDataset(
        columns,
        [clip.label for clip in clips],
        classes=STAGES,
        group=[number[clip.subject] for clip in clips],
        valid=dict.fromkeys(incomplete, has_eeg),
        ids=[clip.id for clip in clips],
        start_s=[clip.start_s for clip in clips] if any(clip.start_s for clip in clips) else None,
    )


def _published_split(dataset: PairedDataset, clips: Sequence[Clip], allow_leak: bool) -> Splits:
    seen: dict[str, set[str]] = {}
    for clip in clips:
        seen.setdefault(clip.subject, set()).add(clip.subset)
    leaks = sorted(subject for subject, subsets in seen.items() if len(subsets) > 1)
    if leaks:
        message = (
            f"{len(leaks)} of {len(seen)} subjects are in more than one subset (first: {leaks[0]})"
        )
        if not allow_leak:
            raise ValueError(
                f"{message}; pass split='subjects' for a clean split, or allow_leak=True to "
                "reproduce this one"
            )
        warnings.warn(f"{message}: results on it look better than they are", stacklevel=3)
    rows = {name: [at for at, clip in enumerate(clips) if clip.subset == name] for name in SUBSETS}
    empty = [name for name in SUBSETS if not rows[name]]
    if empty:
        raise ValueError(
            f"the annotations have no clip in {' and '.join(empty)}; pass split='subjects' to draw "
            "the three parts from all subjects"
        )
    return Splits(*(dataset.subset(rows[name]) for name in SUBSETS))
