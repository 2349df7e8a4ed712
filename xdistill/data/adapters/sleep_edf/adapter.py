"""Sleep-EDF Expanded, sleep-cassette: whole nights of EEG, EOG, EMG and respiration with stages.

Kemp et al., IEEE Trans Biomed Eng 47 (2000) 1185, recorded healthy people aged 25 to 101 at
home; PhysioNet distributes the nights as EDF files and their scoring as EDF+ annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xdistill.data.adapters.sleep_edf.index import MODALITIES, SOURCE, find_nights
from xdistill.data.adapters.sleep_edf.nights import NightColumn
from xdistill.data.cards import DatasetCard
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.data.splits import Splits, fold_groups, split_groups
from xdistill.data.store import default_root
from xdistill.registry import register_dataset

CARD = DatasetCard(
    name="sleep_edf",
    pairs=(("eeg", "eog"), ("eeg", "emg"), ("eeg", "resp")),
    classes=len(STAGES),
    size="153 nights of 78 subjects, about 20 h each; 8 GB as distributed",
    licence="Open Data Commons Attribution 1.0",
    citation=(
        "Kemp, Zwinderman, Tuk, Kamphuisen, Oberyé, Analysis of a sleep-dependent neuronal "
        "feedback loop, IEEE Trans Biomed Eng 47(9):1185-1194, 2000; Goldberger et al., PhysioBank,"
        " PhysioToolkit, and PhysioNet, Circulation 101(23):e215-e220, 2000"
    ),
    source_url=SOURCE,
    files=("**/SC4*-PSG.edf", "**/SC4*-Hypnogram.edf"),
)


@register_dataset(CARD)
def sleep_edf(
    root: str | Path,
    *,
    modalities: Sequence[str] = tuple(MODALITIES),
    subjects: Sequence[int] | None = None,
    folds: int = 20,
    fold: int = 0,
    val_subjects: int | None = None,
    wake_minutes: float | None = 30.0,
    cache: str | Path | None = None,
) -> Splits:
    """Sleep-EDF's cassette nights as three paired datasets of scored epochs of 30 s.

    - ``eeg`` float32 [2, 3000]: Fpz-Cz and Pz-Oz, 100 Hz, µV.
    - ``eog`` float32 [1, 3000]: horizontal, 100 Hz, µV.
    - ``emg`` float32 [1, 30]: envelope of the submental EMG, 1 Hz as recorded, µV.
    - ``resp`` float32 [1, 30]: oro-nasal airflow, 1 Hz as recorded, in the recorder's units.

    Nothing is resampled, filtered or scaled. Classes are W, N1, N2, N3 (stages 3 and 4) and
    REM; movement time and unscored time are left out. A row's group is its subject, its id the
    recording with the number of the epoch, and ``start_s`` the epoch's start in the recording.

    The subjects are divided into folds, and fold ``fold`` is the test part. With the subjects 0 to
    19 and 20 folds that is the leave-one-subject-out protocol of DeepSleepNet (Supratak et al.,
    2017), except that here the next subjects (cyclically) are for validation, which that protocol
    lacks. No subject is in two parts.

    Args:
        root: holds ``SC4001E0-PSG.edf``, ``SC4001EC-Hypnogram.edf`` and so on, directly or in
            ``sleep-cassette``.
        modalities: which of the four columns.
        subjects: numbers as in the file names; ``range(20)`` is "Sleep-EDF-20". None takes all.
        folds: number of folds, at most one for each subject.
        fold: which one is for testing, from 0.
        val_subjects: how many of the other subjects are for validation; 15 % when None.
        wake_minutes: scored wakefulness kept before the first and after the last epoch of sleep;
            None keeps all of it.
        cache: folder for the epochs, about 36 kB each with all modalities, which is filled here;
            `default_root("sleep_edf")` when None.

    Raises:
        FileNotFoundError: a recording or its hypnogram is missing; the message says where to get
            them.
        ValueError: an option is out of range, a file is damaged, or a signal is missing.
        ImportError: mne is missing.
    """
    modalities = check_modalities(modalities, MODALITIES)
    if wake_minutes is not None and wake_minutes < 0:
        raise ValueError(
            f"wake_minutes is 0 or more, or None for all wakefulness, got {wake_minutes}"
        )
    nights = find_nights(
        Path(root).expanduser(),
        modalities=modalities,
        subjects=subjects,
        wake_minutes=wake_minutes,
    )
    subjects = sorted({night.subject for night in nights})
    parts = fold_groups(subjects, folds=folds, fold=fold, val_groups=val_subjects)
    folder = Path(default_root("sleep_edf") if cache is None else cache).expanduser()
    rows = [(night, epoch) for night in nights for epoch in night.epochs]
    dataset = PairedDataset(
        {name: NightColumn(nights, name, folder) for name in modalities},
        [epoch.stage for _, epoch in rows],
        classes=STAGES,
        group=[night.subject for night, _ in rows],
        ids=[f"{night.id}/{epoch.start_s / EPOCH_S:g}" for night, epoch in rows],
        start_s=[epoch.start_s for _, epoch in rows],
    )
    return split_groups(dataset, **parts)
