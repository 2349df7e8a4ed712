"""One prepared night as files: where they lie, what is in them, and how they are read.

```
<root>/prepared.json              options of the preparation, and the state of every night
<root>/epochs.csv                 the rows of all nights
<root>/nights/<name>/night.json   facts of the night, and a checksum of every file
<root>/nights/<name>/epochs.csv   epoch, start_s, stage, yasa, features of the body, marks
<root>/nights/<name>/video.npy    uint8 [E, T, S, S]
<root>/nights/<name>/body.npy     float32 [E, C, L], NaN in epochs without
<root>/nights/<name>/eeg.npy      float32 [E, c, t] in µV, NaN where there is none; eog, emg, resp
<root>/nights/<name>/yasa.npy     float32 [E, 5] probabilities, NaN in epochs that are not staged
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xdistill.data.files.delimited import read_table
from xdistill.data.sleep_stages import STAGES
from xdistill.storage.checksums import of_file
from xdistill.storage.json_file import read_json
from xdistill.storage.names import plain_name

FORMAT = 1
NIGHTS = "nights"
FACTS = "night.json"
EPOCHS = "epochs.csv"
ARRAYS = ("video", "body", "eeg", "eog", "emg", "resp", "yasa")
"""Arrays that a night may have, each in a file of its name."""
SIGNALS = ("eeg", "eog", "emg", "resp")
BEFORE = ("epoch", "start_s", "stage", "yasa")
AFTER = ("marks",)
"""Columns of the table, before and after the features of the body."""
NO_VIDEO = "no_video"
"""The mark of an epoch whose clip is not there."""
LAYOUT = "<folder>/prepared.json and <folder>/nights/<name>/, as `xdistill prepare` writes them"
SOURCE = "your own laboratory: run `xdistill prepare` on its recordings"


class NightRecord(NamedTuple):
    """One night of E epochs; arrays that it does not have are None or left out.

    Attributes:
        name: of the night, and of its folder.
        subject: who slept; several nights may be of one subject.
        start: the beginning of the first epoch as ISO text, None where it is not known.
        start_s: [E] beginnings of the epochs since that of the first, in seconds.
        stages: [E] the scorer's, positions in `STAGES`, -1 where unscored.
        yasa: [E, 5] probabilities in the order of `STAGES`; NaN where not staged.
        marks: what is to be known of each epoch.
        features: [E, F] of the body; NaN where unknown.
        feature_names: what the F columns are.
        video: [E, T, S, S], memory-mapped as all arrays are.
        body: [E, C, L].
        signals: [E, c, t] by kind.
        facts: what night.json holds.
    """

    name: str
    subject: str
    start: str | None
    start_s: np.ndarray
    stages: np.ndarray
    yasa: np.ndarray | None
    marks: tuple[frozenset[str], ...]
    features: np.ndarray
    feature_names: tuple[str, ...]
    video: np.ndarray | None
    body: np.ndarray | None
    signals: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


def night_folder(root: Path, name: str) -> Path:
    """The folder of a night.

    Raises:
        ValueError: a name that leads elsewhere.
    """
    return root / NIGHTS / plain_name(name, "the night")


def read_night(root: str | Path, name: str, *, check: bool = True) -> NightRecord:
    """A prepared night, its arrays memory-mapped.

    Args:
        root: the prepared folder.
        name: of the night.
        check: compare every file with its checksum, which reads it once.

    Raises:
        FileNotFoundError: there is no such night.
        ValueError: a file is missing, damaged or of another shape than night.json says; names it.
    """
    folder = night_folder(Path(root), name)
    if not (folder / FACTS).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {FACTS}, so no night {name!r} was prepared there; prepare it with "
            "`xdistill prepare`"
        )
    facts = read_json(folder / FACTS)
    if facts.get("format") != FORMAT or not {"epochs", "subject", "files"} <= facts.keys():
        raise ValueError(
            f"{folder / FACTS} has format {facts.get('format')!r}, expected {FORMAT}; prepare the "
            "night again with this version"
        )
    _check_files(folder, facts["files"], check)
    count, arrays = int(facts["epochs"]), _arrays(folder, facts)
    rows = read_table(folder / EPOCHS, (*BEFORE, *AFTER), LAYOUT, SOURCE)
    lengths = {EPOCHS: len(rows), **{kind: len(array) for kind, array in arrays.items()}}
    if set(lengths.values()) != {count}:
        raise _damaged(folder, f"it has {count} epochs by {FACTS}, but {lengths}")
    names = tuple(one for one in rows[0] if one not in (*BEFORE, *AFTER))
    try:
        return NightRecord(
            name=name,
            subject=str(facts["subject"]),
            start=facts.get("start"),
            start_s=np.array([float(row["start_s"]) for row in rows]),
            stages=np.array([_stage(row["stage"]) for row in rows], np.int8),
            yasa=arrays.pop("yasa", None),
            marks=tuple(frozenset(row["marks"].split()) for row in rows),
            features=np.array([[_number(row[one]) for one in names] for row in rows], np.float32),
            feature_names=names,
            video=arrays.pop("video", None),
            body=arrays.pop("body", None),
            signals=arrays,
            facts=facts,
        )
    except ValueError as error:
        raise _damaged(folder, str(error)) from error


def usable(record: NightRecord, modality: str) -> np.ndarray:
    """[E] Which epochs have a modality: a clip, or values that are all finite."""
    if modality == "video":
        has_film = record.video is not None
        return np.array([has_film and NO_VIDEO not in marks for marks in record.marks])
    array = record.body if modality == "body" else record.signals.get(modality)
    if array is None:
        return np.zeros(len(record.marks), bool)
    return np.array([bool(np.isfinite(epoch).all()) for epoch in array])


def _check_files(folder: Path, files: Mapping[str, str], check: bool) -> None:
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise _damaged(folder, f"{', '.join(missing)} is missing")
    if not check:
        return
    if damaged := [name for name, known in files.items() if of_file(folder / name) != known]:
        raise _damaged(folder, f"{', '.join(damaged)} does not match its checksum")


def _arrays(folder: Path, facts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    found = {}
    for kind in ARRAYS:
        if f"{kind}.npy" not in facts["files"]:
            continue
        try:
            found[kind] = np.load(folder / f"{kind}.npy", mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise _damaged(folder, f"{kind}.npy cannot be read ({error})") from error
    return found


def _stage(name: str) -> int:
    return STAGES.index(name) if name else -1


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _damaged(folder: Path, what: str) -> ValueError:
    return ValueError(
        f"the night in {folder} is damaged: {what}; delete that folder and prepare the night again"
    )
