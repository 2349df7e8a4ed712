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

from xdistill.data.adapters.s3ve.eeg import read_eeg
from xdistill.data.adapters.s3ve.index import (
    LAYOUTS,
    OWNER,
    STAGES,
    SUBSETS,
    TABLE,
    Clip,
    read_annotations,
    read_table,
)
from xdistill.data.cards import DatasetCard
from xdistill.data.files.clips import ArrayColumn, ClipColumn, read_features
from xdistill.data.paired import PairedDataset
from xdistill.data.simulation.sample import generate
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


@register_dataset("s3ve", CARD)
def s3ve(
    root: str | Path | None = None,
    *,
    layout: Literal["clips", "features", "sample"] | None = None,
    split: Literal["published", "subjects"] | None = None,
    subject_pattern: str | None = None,
    allow_leak: bool = False,
    frames: int | None = None,
    size: int | None = None,
    channels: int = 1,
    eeg_samples: int = 3000,
    keep_gib: float = 1.0,
    seed: int = 0,
) -> Splits:
    """S3VE, or its embedded sample, as three paired datasets.

    Rows stand in the order of subject and time, so a subject's rows are its hypnogram. Inputs:

    - ``video`` float32 [C, T, H, W] from 0 to 1, neither centred nor scaled further, and ``eeg``
      float32 [C, 3000] in the unit of the file (the sample: µV);
    - ``eeg_features`` [512] instead of ``eeg`` where the files hold features;
    - ``video_features`` and ``eeg_features`` in the layout "features".

    Args:
        root: the dataset's folder; for the sample, where to generate it. None: the sample in the
            cache folder.
        layout: "clips", "features" (see `LAYOUTS`) or "sample". None: "sample" without a root,
            otherwise "clips".
        split: "published" takes the subsets of the annotations, "subjects" draws subjects by
            ``seed``. None: "published", for "features" (which has no subsets) "subjects".
        subject_pattern: regular expression whose first group in a clip's id is its subject, for
            annotations without the key "subject" (the public ones have none).
        allow_leak: a subject in two subsets is a warning instead of an error.
        frames: frames a clip, spread evenly; None for 16, of the sample all 30.
        size: side of a frame in pixels; None for 112, of the sample 48.
        channels: 1 for grey, 3 for RGB.
        eeg_samples: length of a raw EEG epoch.
        keep_gib: decoded clips, and EEG, stay in memory if they fit into so many GiB each.
        seed: of the split "subjects".

    Raises:
        FileNotFoundError: the annotations or a clip's video are missing.
        ValueError: annotations that contradict themselves, or an unknown subject or label.
    """
    layout = layout or ("sample" if root is None else "clips")
    if layout == "sample":
        root, layout = generate(root), "clips"
        frames, size = frames or 30, size or 48
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is unknown, expected 'clips', 'features' or 'sample'")
    if root is None:
        raise ValueError(f"layout {layout!r} needs the dataset's root: {LAYOUTS[layout]}. {OWNER}")
    root = Path(root).expanduser()
    keep_bytes = keep_gib * GIB
    if layout == "features":
        clips, classes = read_table(root / TABLE), STAGES
        split = split or "subjects"
        video = ArrayColumn([clip.video for clip in clips], read_features, keep_bytes=keep_bytes)
        eeg = ArrayColumn([clip.eeg for clip in clips], read_features, keep_bytes=keep_bytes)
    else:
        clips, classes = read_annotations(root, subject_pattern)
        split = split or "published"
        video = ClipColumn(
            [clip.video for clip in clips if clip.video],
            [clip.segment for clip in clips],
            keep_bytes=keep_bytes,
            frames=frames or 16,
            size=size or 112,
            channels=channels,
        )
        eeg = ArrayColumn(
            [clip.eeg for clip in clips],
            partial(read_eeg, samples=eeg_samples),
            keep_bytes=keep_bytes,
        )
    names = _input_names(layout, clips, eeg)
    dataset = _paired(clips, classes, dict(zip(names, (video, eeg), strict=True)))
    if split == "subjects":
        return split_by_group(dataset, seed=seed)
    return _published_split(dataset, clips, allow_leak)


def _input_names(layout: str, clips: Sequence[Clip], eeg: ArrayColumn) -> tuple[str, str]:
    """What the columns are called; EEG by what its first file holds."""
    if layout == "features":
        return "video_features", "eeg_features"
    first = next((row for row, clip in enumerate(clips) if clip.eeg is not None), None)
    features = first is not None and eeg[first].ndim == 1
    return "video", "eeg_features" if features else "eeg"


def _paired(
    clips: Sequence[Clip], classes: Sequence[str], columns: dict[str, Any]
) -> PairedDataset:
    subjects = sorted({clip.subject for clip in clips})
    number = {subject: place for place, subject in enumerate(subjects)}
    has_eeg = torch.tensor([clip.eeg is not None for clip in clips])
    eeg = list(columns)[1]
    return PairedDataset(
        columns,
        [clip.label for clip in clips],
        classes=classes,
        group=[number[clip.subject] for clip in clips],
        valid=None if bool(has_eeg.all()) else {eeg: has_eeg},
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
        warnings.warn(f"{message}: results on it are too good", stacklevel=3)
    rows = {name: [at for at, clip in enumerate(clips) if clip.subset == name] for name in SUBSETS}
    empty = [name for name in SUBSETS if not rows[name]]
    if empty:
        raise ValueError(
            f"the annotations have no clip in {' and '.join(empty)}; pass split='subjects' to draw "
            "the three parts from all subjects"
        )
    return Splits(*(dataset.subset(rows[name]) for name in SUBSETS))
