"""Written hypnograms: read again by us, mne, edfio, pandas and YASA."""

from datetime import datetime

import edfio
import mne
import numpy as np
import pandas as pd
import pytest
import yasa

from xdistill.data.sleep_stages import N1, N2, N3, REM, STAGES, W
from xdistill.sleep.hypnograms import Hypnogram, read_hypnogram, write_hypnogram
from xdistill.sleep.marks import Mark

START = datetime(2026, 1, 31, 23, 5, 7)
ORDER = (W, N1, N2, N3, REM, -1, -1, -1, N2)
WHY = (Mark.UNSCORED, Mark.SCORED_ARTEFACT, Mark.SCORED_MOVEMENT)


def hypnogram(start_s: float = 0.0, scorer: str = "") -> Hypnogram:
    marks = [frozenset()] * 5 + [frozenset({each}) for each in WHY] + [frozenset()]
    return Hypnogram(np.array(ORDER, np.int8), tuple(marks), start_s, None, scorer)


@pytest.mark.parametrize("suffix", [".edf", ".csv", ".annot"])
@pytest.mark.parametrize("start_s", [0.0, 37.25, 43210.5, -30.0])
def test_what_was_written_is_read(tmp_path, suffix, start_s):
    path = tmp_path / f"Nacht-ö{suffix}"
    write_hypnogram(path, hypnogram(start_s, "Zoë B"), start=START)
    found = read_hypnogram(path, START)
    assert np.array_equal(found.stages, hypnogram().stages)
    assert found.marks == hypnogram().marks and found.start_s == start_s
    assert found.scorer == ("Zoë B" if suffix == ".csv" else "")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_start_with_parts_of_a_second(tmp_path):
    start = START.replace(microsecond=250000)
    write_hypnogram(tmp_path / "h.edf", hypnogram(30.0), start=start)
    assert read_hypnogram(tmp_path / "h.edf", start).start_s == pytest.approx(30)
    assert read_hypnogram(tmp_path / "h.edf", START).start_s == pytest.approx(30.25)


def test_mne_and_edfio_read_the_annotations(tmp_path):
    write_hypnogram(tmp_path / "h.edf", hypnogram(60.0, "Zoë B"), start=START)
    found = mne.read_annotations(tmp_path / "h.edf")
    assert found.onset.tolist() == [60.0 + 30 * at for at in range(9)]
    assert found.duration.tolist() == [30.0] * 9
    names = [f"Sleep stage {each}" for each in ("W", "N1", "N2", "N3", "R", "?", "artefact")]
    assert found.description.tolist() == [*names, "Movement time", "Sleep stage N2"]
    stored = edfio.read_edf(tmp_path / "h.edf")
    assert stored.startdatetime == START
    assert stored.recording.investigator_technician_code == "Zoe_B"


def test_yasa_reads_the_text(tmp_path):
    write_hypnogram(tmp_path / "h.txt", hypnogram(60.0))
    names = (tmp_path / "h.txt").read_text().split()
    made = yasa.Hypnogram(names, freq="30s")
    assert made.as_int().tolist() == [-2, -2, 0, 1, 2, 3, 4, -2, -1, -1, 2]
    found = read_hypnogram(tmp_path / "h.txt")
    assert found.stages.tolist() == [-1, -1, *ORDER]


@pytest.mark.parametrize("start_s", [-30.0, 7.0])
def test_a_text_cannot_say_when_it_starts(tmp_path, start_s):
    with pytest.raises(ValueError, match="cannot hold a hypnogram that starts"):
        write_hypnogram(tmp_path / "h.txt", hypnogram(start_s))
    assert not list(tmp_path.iterdir())


def test_probabilities_in_the_table(tmp_path):
    made = np.random.default_rng(0).dirichlet(np.ones(5), 9).astype(np.float32)
    made[5] = np.nan
    write_hypnogram(tmp_path / "h.csv", hypnogram()._replace(probabilities=made))
    table = pd.read_csv(tmp_path / "h.csv")
    assert list(table.columns[:5]) == ["epoch", "onset", "duration", "stage", "marks"]
    assert np.allclose(table[list(STAGES)], made, atol=1e-5, equal_nan=True)
    assert table.marks.dropna().tolist() == ["unscored", "scored_artefact", "scored_movement"]
    found = read_hypnogram(tmp_path / "h.csv").probabilities
    assert found is not None and np.allclose(found, made, atol=1e-5, equal_nan=True)


def test_lunas_rows(tmp_path):
    write_hypnogram(tmp_path / "h.annot", hypnogram(30.0))
    lines = (tmp_path / "h.annot").read_text().splitlines()
    assert lines[0].split("\t") == ["class", "instance", "channel", "start", "stop", "meta"]
    assert lines[1].split("\t") == ["W", ".", ".", "30", "60", "."]
    assert lines[5].split("\t")[0] == "R"
    assert lines[8].split("\t")[:2] == ["?", "movement"]


def test_without_a_date(tmp_path):
    write_hypnogram(tmp_path / "h.edf", hypnogram(30.0))
    with pytest.warns(UserWarning, match="does not say when it starts"):
        assert read_hypnogram(tmp_path / "h.edf", START).start_s == 30


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"one of .edf, .csv, .txt, .annot"):
        write_hypnogram(tmp_path / "h.xml", hypnogram())
