"""EEG that a teacher was trained on elsewhere: labelled epochs of other sleepers, without film."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from xdistill.data.adapters.s3ve.eeg import read_epoch
from xdistill.data.adapters.s3ve.index import check_files, read_annotations
from xdistill.data.files.file_column import FileColumn
from xdistill.data.paired import PairedDataset
from xdistill.data.simulation.nights import ELSEWHERE
from xdistill.data.simulation.sample import generate
from xdistill.data.sleep_stages import STAGES
from xdistill.numerics import GIB


def teacher_rows(
    root: str | Path | None = None,
    *,
    subject_pattern: str | None = None,
    eeg_samples: int = 3000,
    allow_outside: bool = False,
    keep_gib: float = 1.0,
) -> PairedDataset:
    """The raw EEG of a corpus on which a teacher is trained, for students of another one.

    Rows are in the order of subject and time. ``eeg`` is float32 [C, 3000] in the unit of the file
    (the sample: µV). Groups count the corpus's own subjects from 0.

    Args:
        root: a folder in the layout "clips" (see `LAYOUTS`), of which only the EEG is read, and all
            subsets alike. None is the sample's 12 sleepers elsewhere, in the cache folder.
        subject_pattern: regular expression whose first group in a clip's id is its subject, for
            annotations without the key "subject".
        eeg_samples: length of an epoch.
        allow_outside: follow ids and labels that lead out of the root.
        keep_gib: rows stay in memory if all of them fit into this many GiB.

    Raises:
        FileNotFoundError: there are no annotations.
        ValueError: malformed annotations, or no clip with EEG.
    """
    root = generate() / ELSEWHERE if root is None else Path(root).expanduser()
    clips = read_annotations(root, subject_pattern, allow_outside=allow_outside)
    check_files(clips, "clips", ("eeg",))
    clips = [clip for clip in clips if clip.eeg is not None]
    if not clips:
        raise ValueError(f"no clip of {root} has an EEG file; a teacher needs eeg/<label>/<id>.npy")
    subjects = sorted({clip.subject for clip in clips})
    read = partial(read_epoch, samples=eeg_samples)
    return PairedDataset(
        {"eeg": FileColumn([clip.eeg for clip in clips], read, keep_bytes=keep_gib * GIB)},
        [clip.label for clip in clips],
        classes=STAGES,
        group=[subjects.index(clip.subject) for clip in clips],
        ids=[clip.id for clip in clips],
        start_s=[clip.start_s for clip in clips] if any(clip.start_s for clip in clips) else None,
    )
