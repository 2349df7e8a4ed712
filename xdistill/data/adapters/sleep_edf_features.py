"""Sleep-EDF as 35 features of each epoch and channel: EEG with EOG teaches one channel.

The features were computed from Sleep-EDF Expanded by T. Hu and are distributed as one npz for each
night; `FEATURES` has their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from xdistill.data.cards import DatasetCard
from xdistill.data.files.names import check_names
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.sleep_stages import EPOCH_S, STAGES, stage_of
from xdistill.data.splits import Splits, fold_groups, split_groups
from xdistill.registry import register_dataset

SOURCE = "https://github.com/TonyHGF/EEG-Sleep-Staging (folder result)"
POWERS = tuple(f"{band}_power" for band in "slow_delta fast_delta theta alpha sigma beta".split())
FEATURES = (
    *"std iqr skewness kurtosis zero_crossings hjorth_mobility hjorth_complexity".split(),
    *"higuchi petrosian entropy_5 entropy_10 entropy_30 entropy_60".split(),
    *"spectral_centroid spectral_variance spectral_skewness spectral_kurtosis".split(),
    *(f"spectral_entropy_{bins}" for bins in (2, 3, 5, 10, 30, 60, 100)),
    *POWERS,
    *"fast_delta+theta alpha/theta slow_delta/beta slow_delta/sigma slow_delta/theta".split(),
)
"""The 35 features of a channel, in the order of the file."""
CHANNELS = ("Fpz-Cz", "Pz-Oz", "EOG")
BASIC = ("std", "iqr", "zero_crossings")
UNSCORED = 6
LABELS = ("W", "S1", "S2", "S3", "S4", "REM")
"""Names of the labels 0 to 5 of a file."""


def _columns(channel: str, names: Sequence[str] = FEATURES) -> list[int]:
    first = len(FEATURES) * CHANNELS.index(channel)
    return [first + FEATURES.index(name) for name in names]


MODALITIES = {
    "eeg_eog": list(range(len(CHANNELS) * len(FEATURES))),
    "eeg_pz": _columns("Pz-Oz"),
    "eog": _columns("EOG"),
    "eog_basic": _columns("EOG", BASIC),
}
"""Positions of each modality's features among the 105 of a row."""

CARD = DatasetCard(
    name="sleep_edf_features",
    pairs=(("eeg_eog", "eog"), ("eeg_eog", "eeg_pz"), ("eeg_eog", "eog_basic")),
    classes=len(STAGES),
    size="one night each of 20 subjects, 52,000 epochs of 30 s, 18,000 around sleep; 44 MB",
    licence="Open Data Commons Attribution 1.0 (the recordings); the features state none",
    citation=(
        "Kemp, Zwinderman, Tuk, Kamphuisen, Oberyé, Analysis of a sleep-dependent neuronal "
        "feedback loop, IEEE Trans Biomed Eng 47(9):1185-1194, 2000; Goldberger et al., PhysioBank,"
        " PhysioToolkit, and PhysioNet, Circulation 101(23):e215-e220, 2000"
    ),
    source_url=SOURCE,
    files=("**/SC4*.npz",),
)


@register_dataset(CARD)
def sleep_edf_features(
    root: str | Path,
    *,
    modalities: Sequence[str] = ("eeg_eog", "eog"),
    folds: int = 5,
    fold: int = 0,
    val_subjects: int | None = None,
    wake_minutes: float | None = 30.0,
    standardise: bool = True,
    context: Mapping[str, int] | None = None,
) -> Splits:
    """Sleep-EDF's nights as three paired datasets of feature vectors, an epoch of 30 s a row.

    - ``eeg_eog`` float32 [105]: `FEATURES` of Fpz-Cz, of Pz-Oz and of the horizontal EOG.
    - ``eeg_pz`` float32 [35]: the features of Pz-Oz.
    - ``eog`` float32 [35]: the features of the EOG.
    - ``eog_basic`` float32 [3]: the EOG's standard deviation, interquartile range and zero
      crossings.

    The logarithm of the six band powers is taken. Classes are W, N1, N2, N3 (stages 3 and 4) and
    REM; unscored epochs are left out. A row's group is its subject. The extractor left out the last
    epoch of every run of one stage, so neighbouring rows need not be neighbouring epochs.

    The parts follow `fold_groups`: no subject is in two of them.

    Args:
        root: holds ``SC4ssNE0.npz`` (ss subject, N night), itself or in ``features/``. A file has
            ``features`` [n, 105] and ``labels`` [n] from 0 to 6.
        modalities: which of the four columns.
        folds: number of folds.
        fold: which one is for testing, from 0.
        val_subjects: how many of the other subjects are for validation; 15 % when None.
        wake_minutes: wakefulness kept before the first and after the last row of sleep; None keeps
            all of it.
        standardise: whether each feature gets mean 0 and standard deviation 1 over the training
            rows.
        context: how many rows before and after are part of a row, by modality, as in
            ``{"eog": 5}``: ``eog`` becomes float32 [(2 · 5 + 1) · 35], in the order of time. Where
            the night begins or ends, its first or last row is repeated. An extract leaves epochs
            out, so that five rows may span more than five epochs.

    Raises:
        FileNotFoundError: there is no file; the message says where to get them.
        ValueError: an option is out of range, or a file is damaged.
    """
    modalities = check_modalities(modalities, MODALITIES)
    if wake_minutes is not None and wake_minutes < 0:
        raise ValueError(
            f"wake_minutes is 0 or more, or None for all wakefulness, got {wake_minutes}"
        )
    reach = _check_context(context or {}, modalities)
    files = _find(Path(root).expanduser())
    nights = [read_night(path, wake_minutes) for path in files]
    group = torch.tensor(
        [
            int(path.name[3:5])
            for path, (_, stage, _) in zip(files, nights, strict=True)
            for _ in stage
        ]
    )
    subjects = sorted(set(group.tolist()))
    parts = fold_groups(subjects, folds=folds, fold=fold, val_groups=val_subjects)
    features = torch.cat([night[0] for night in nights])
    if standardise:
        features = _standardise(features, torch.isin(group, torch.tensor(parts["train"])))
    lengths = [len(stage) for _, stage, _ in nights]
    dataset = PairedDataset(
        {
            name: _with_context(features[:, MODALITIES[name]].float(), lengths, reach.get(name, 0))
            for name in modalities
        },
        torch.cat([night[1] for night in nights]),
        classes=STAGES,
        group=group,
        ids=[
            f"{path.stem}/{row}"
            for path, (_, _, rows) in zip(files, nights, strict=True)
            for row in rows.tolist()
        ],
    )
    return split_groups(dataset, **parts)


def read_night(
    path: Path, wake_minutes: float | None = 30.0
) -> tuple[Float64[Tensor, "n 105"], Tensor, Tensor]:
    """A night's features with the logarithm of band powers, its stages, and the rows in the file.

    Raises:
        ValueError: a damaged file, arrays of other shapes, unknown labels, or no sleep.
    """
    width = len(CHANNELS) * len(FEATURES)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            features, labels = _real(stored["features"]), _real(stored["labels"]).reshape(-1)
    except Exception as error:  # a zip that is cut, a missing array, text
        raise ValueError(
            f"{path} cannot be read as an npz with features and labels ({type(error).__name__}: "
            f"{error}); it may be truncated: copy it again"
        ) from error
    if features.shape != (len(labels), width) or not np.isfinite(features).all():
        raise ValueError(
            f"{path} has features {features.shape} and labels {labels.shape}, expected "
            f"(n, {width}) and (n,), and {int((~np.isfinite(features)).sum())} values that are NaN "
            "or infinite, expected none; copy it again"
        )
    if not np.isin(labels, np.arange(UNSCORED + 1)).all():
        raise ValueError(
            f"{path} has labels {np.unique(labels).tolist()}, expected 0 to {UNSCORED}; copy it "
            "again"
        )
    labels = labels.astype(np.int64)
    rows = np.flatnonzero(labels != UNSCORED)
    stages = np.array([stage_of(name) for name in LABELS])[labels[rows]]
    asleep = np.flatnonzero(stages)
    if not len(asleep):
        raise ValueError(
            f"{path} has no row of sleep; move the file elsewhere to leave the night out"
        )
    if wake_minutes is not None:
        margin = int(wake_minutes * 60 // EPOCH_S)
        kept = slice(max(0, asleep[0] - margin), asleep[-1] + 1 + margin)
        rows, stages = rows[kept], stages[kept]
    chosen = features[rows]
    powers = [column for channel in CHANNELS for column in _columns(channel, POWERS)]
    if (chosen[:, powers] <= 0).any():
        raise ValueError(f"{path} has a band power that is not positive; copy it again")
    chosen[:, powers] = np.log(chosen[:, powers])
    return torch.from_numpy(chosen), torch.from_numpy(stages), torch.from_numpy(rows)


def _real(stored: np.ndarray) -> np.ndarray:
    if stored.dtype.kind not in "biuf":
        raise ValueError(f"an array of {stored.dtype}, expected real numbers")
    return stored.astype(np.float64)


def _find(root: Path) -> list[Path]:
    for folder in (root, root / "features"):
        files = sorted(folder.glob("SC4[0-9][0-9][0-9]*.npz"))
        if files:
            check_names([path.name[:6] for path in files], f"{folder}: a night of it")
            return files
    raise FileNotFoundError(
        f"{root / 'SC4001E0.npz'} and all other nights are missing; the layout is "
        f"<root>/SC4ssNE0.npz (ss subject, N night), or the same in features/; the "
        f"files are distributed at {SOURCE}"
    )


def _check_context(context: Mapping[str, int], modalities: Sequence[str]) -> Mapping[str, int]:
    for name, rows in context.items():
        if name not in modalities or not isinstance(rows, int) or rows < 0:
            raise ValueError(
                f"context is a number of rows, 0 or more, for some of {list(modalities)}, got "
                f"{dict(context)}"
            )
    return context


def _with_context(
    features: Float[Tensor, "n f"], lengths: Sequence[int], reach: int
) -> Float[Tensor, "n g"]:
    """Each row beside those before and after it in its night, of which there are `lengths` rows."""
    if not reach:
        return features
    steps = torch.arange(-reach, reach + 1)
    nights = []
    for night in features.split(list(lengths)):
        near = (torch.arange(len(night))[:, None] + steps).clamp(0, len(night) - 1)
        nights.append(night[near].flatten(1))
    return torch.cat(nights)


def _standardise(
    table: Float64[Tensor, "n f"], train: Bool[Tensor, " n"]
) -> Float64[Tensor, "n f"]:
    mean, spread = table[train].mean(dim=0), table[train].std(dim=0, correction=0)
    return (table - mean) / torch.where(spread > 1e-12, spread, 1.0)
