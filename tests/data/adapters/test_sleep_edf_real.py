"""Hypnograms of PhysioNet, against the labels beside them."""

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from xdistill.data.adapters.sleep_edf.adapter import sleep_edf
from xdistill.data.adapters.sleep_edf.index import trim_wake
from xdistill.data.files.edf import Waveform, read_edf_header, write_edf, write_edf_annotations
from xdistill.data.files.edf_annotations import read_edf_annotations
from xdistill.data.sleep_stages import scored_epochs

LABELS = ("Sleep stage W", *(f"Sleep stage {stage}" for stage in "1234R"))
"""The labels 0 to 5 of the feature files beside the real hypnograms."""


@pytest.fixture(scope="module")
def real(shared_data) -> dict[str, tuple[Path, np.ndarray]]:
    """For each night its hypnogram and the labels that another program made from it."""
    folder = shared_data("sleep_edf_sc_features")
    found = {}
    for path in sorted((folder / "hypnograms").glob("*.edf")):
        with np.load(folder / "features" / f"{path.name[:7]}0.npz") as stored:
            found[path.name[:6]] = path, stored["labels"]
    return found


def test_the_real_hypnograms_agree_with_the_labels_beside_them(real):
    assert len(real) == 20
    for path, labels in real.values():
        blocks = read_edf_annotations(path).blocks
        scored = [(int(length_s) // 30, text) for _, length_s, text in blocks if text in LABELS]
        # The extractor left out the last epoch of each block.
        expected = [LABELS.index(text) for count, text in scored for _ in range(count - 1)]
        assert expected == labels[labels < 6].tolist()
        merged = np.array([0, 1, 2, 3, 3, 4])[labels[labels < 6]]
        stages = np.array([epoch.stage for epoch in scored_epochs(blocks)])
        kept = np.ones(len(stages), bool)
        kept[np.cumsum([count for count, _ in scored]) - 1] = False
        assert np.array_equal(stages[kept], merged)


def test_the_real_hypnograms_epochs(real):
    epochs = {
        night: scored_epochs(read_edf_annotations(path).blocks) for night, (path, _) in real.items()
    }
    trimmed = {night: trim_wake(all_day, 30.0) for night, all_day in epochs.items()}
    assert len(trimmed["SC4001"]) == 841  # as DeepSleepNet and others have it
    for counted, wake in ((epochs, 37_410), (trimmed, 3_449)):
        stages = [epoch.stage for night in counted.values() for epoch in night]
        assert np.bincount(stages).tolist() == [wake, 1_240, 9_200, 2_981, 3_756]


def test_the_real_hypnograms_are_written_as_physionet_wrote_them(real, tmp_path):
    for path, _ in real.values():
        stored = path.read_bytes()
        start = datetime.strptime(read_edf_header(path).start, "%d.%m.%y%H.%M.%S")
        patient = stored[8:88].decode().strip()
        write_edf_annotations(
            tmp_path / "x", read_edf_annotations(path).blocks, start=start, patient=patient
        )
        written = (tmp_path / "x").read_bytes()
        # All but the filling at the end, and the length that counts it.
        assert written[:472] == stored[:472]
        assert written[480:].rstrip(b"\0") == stored[480:].rstrip(b"\0")


def test_the_real_hypnograms_drive_the_adapter(real, tmp_path):
    """Real scoring with silent recordings of the length that it scores."""
    for path, _ in list(real.values())[:4]:
        shutil.copy(path, tmp_path)
        scored_s = int(scored_epochs(read_edf_annotations(path).blocks)[-1].start_s) + 30
        start = datetime.strptime(read_edf_header(path).start, "%d.%m.%y%H.%M.%S")
        silent = Waveform("EMG submental", "uV", 1, 5.0, np.zeros(scored_s))
        write_edf(tmp_path / f"{path.name[:7]}0-PSG.edf", [silent], start=start)
    splits = sleep_edf(tmp_path, modalities=["emg"], folds=4)
    assert [part.group.unique().tolist() for part in splits] == [[2, 3], [1], [0]]
    assert len(splits.test) == 841
