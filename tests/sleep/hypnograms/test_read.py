"""Hypnograms from files of every kind; what is ambiguous or of another night is refused."""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
import yasa

from xdistill.data.files.edf import write_edf_annotations
from xdistill.data.sleep_stages import N1, N2, N3, REM, W
from xdistill.sleep.hypnograms import read_hypnogram
from xdistill.sleep.marks import Mark

START = datetime(2026, 1, 31, 23, 5, 7)
NAMES = ["WAKE", "N1", "N2", "N3", "REM", "ART", "UNS", "N2"]
STAGES = [W, N1, N2, N3, REM, -1, -1, N2]
NO_MARK = frozenset()
ART, UNS, MOVED = (
    frozenset({mark}) for mark in (Mark.SCORED_ARTEFACT, Mark.UNSCORED, Mark.SCORED_MOVEMENT)
)


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


class TestEdf:
    def test_both_manuals_movement_and_unscored(self, tmp_path):
        path = tmp_path / "Hypnogramm-ü.edf"
        names = ("Sleep stage W", "Sleep stage 1", "Sleep stage N2", "Sleep stage 4")
        names += ("Sleep stage R", "Movement time", "Sleep stage ?")
        blocks = [(30.0 * at, 30.0, name) for at, name in enumerate(names)]
        write_edf_annotations(path, blocks, start=START)
        found = read_hypnogram(path, START)
        assert found.stages.dtype == np.int8
        assert found.stages.tolist() == [W, N1, N2, N3, REM, -1, -1]
        assert found.marks == (*[NO_MARK] * 5, MOVED, UNS) and found.start_s == 0

    @pytest.mark.parametrize("late_s", [0, 30, 67, -45])
    def test_its_start_counts_from_the_recordings(self, tmp_path, late_s):
        path = tmp_path / "h.edf"
        blocks = [(60.0, 60.0, "Sleep stage W"), (150.0, 30.0, "Sleep stage N3")]
        write_edf_annotations(path, blocks, start=START + timedelta(seconds=late_s))
        found = read_hypnogram(path, START)
        assert found.start_s == 60 + late_s
        assert found.stages.tolist() == [W, W, -1, N3] and found.marks[2] == UNS

    def test_parts_of_seconds_in_the_start(self, tmp_path):
        start = START + timedelta(milliseconds=250)
        recording = edfio.Recording(startdate=start.date())
        annotations = [edfio.EdfAnnotation(7.5, 30, "Sleep stage W")]
        edfio.Edf([], recording=recording, starttime=start.time(), annotations=annotations).write(
            tmp_path / "h.edf"
        )
        assert read_hypnogram(tmp_path / "h.edf", START).start_s == pytest.approx(7.75)

    def test_of_another_night(self, tmp_path):
        write_edf_annotations(tmp_path / "h.edf", [(0.0, 30.0, "Sleep stage W")], start=START)
        with pytest.raises(ValueError, match="starts at 2026-01-31 .* expected the same night"):
            read_hypnogram(tmp_path / "h.edf", START + timedelta(days=3))

    def test_without_a_date(self, tmp_path):
        edfio.Edf([], annotations=[edfio.EdfAnnotation(0, 30, "Sleep stage W")]).write(
            tmp_path / "h.edf"
        )
        with pytest.warns(UserWarning, match="does not say when it starts; it is taken to start"):
            assert read_hypnogram(tmp_path / "h.edf", START).start_s == 0

    def test_other_annotations_are_counted(self, tmp_path):
        blocks = [(0.0, 30.0, "Sleep stage W"), (12.0, 3.0, "Arousal"), (30.0, 30.0, "N2")]
        write_edf_annotations(tmp_path / "h.edf", blocks, start=START)
        with pytest.warns(UserWarning, match=r"1 annotations that are no stages \('Arousal'\)"):
            assert read_hypnogram(tmp_path / "h.edf").stages.tolist() == [W, N2]

    def test_stages_without_a_length(self, tmp_path):
        blocks = [(0.0, 0.0, "Sleep stage W"), (90.0, 0.0, "Sleep stage N2")]
        write_edf_annotations(tmp_path / "h.edf", blocks, start=START)
        with pytest.warns(UserWarning, match="2 stages without a length: each lasts until"):
            assert read_hypnogram(tmp_path / "h.edf").stages.tolist() == [W, W, W, N2]

    @pytest.mark.parametrize(
        "blocks, why",
        [
            ([(0.0, 30.0, "Lights off")], r"no stage among its 1 annotations \('Lights off'\)"),
            ([(0.0, 30.0, "Sleep stage 7")], "'sleep stage 7'|'7' is no sleep stage"),
            (
                [(0.0, 60.0, "Sleep stage W"), (30.0, 30.0, "Sleep stage N2")],
                "at 30 s, before the one at 0 s ends at 60 s; expected one stage at a time",
            ),
        ],
    )
    def test_refused(self, tmp_path, blocks, why):
        write_edf_annotations(tmp_path / "h.edf", blocks, start=START)
        with pytest.raises(ValueError, match=why) as caught:
            read_hypnogram(tmp_path / "h.edf")
        assert "h.edf" in str(caught.value)

    def test_the_real_ones_count_as_mne_reads_them(self, shared_data):
        folder = shared_data("sleep_edf_sc_features") / "hypnograms"
        files = sorted(folder.glob("*-Hypnogram.edf"))
        assert len(files) >= 20
        positions = {"W": W, "1": N1, "2": N2, "3": N3, "4": N3, "R": REM, "?": -1, "e": -1}
        for path in files:
            found = read_hypnogram(path)
            stored = mne.read_annotations(path)
            wanted = Counter()
            for length_s, name in zip(stored.duration, stored.description, strict=True):
                wanted[positions[name[-1]]] += round(length_s / 30)
            assert Counter(found.stages.tolist()) == wanted, path.name
            moved = sum(
                round(length_s / 30)
                for length_s, name in zip(stored.duration, stored.description, strict=True)
                if name == "Movement time"
            )
            assert sum(mark == MOVED for mark in found.marks) == moved
            assert found.start_s == 0 and len(found.stages) == 2880


class TestYasa:
    @pytest.fixture
    def hypnogram(self):
        return yasa.Hypnogram(NAMES, freq="30s", scorer="Zoë")

    def check(self, found, scorer=""):
        assert found.stages.tolist() == STAGES and found.scorer == scorer
        assert found.marks == (*[NO_MARK] * 5, ART, UNS, NO_MARK)

    def test_its_csv(self, hypnogram, tmp_path):
        hypnogram.hypno.to_csv(tmp_path / "h.csv")
        found = read_hypnogram(tmp_path / "h.csv")
        self.check(found, "Zoë")

    def test_its_csv_with_times(self, tmp_path):
        made = yasa.Hypnogram(NAMES, freq="30s", start=str(START + timedelta(seconds=60)))
        made.hypno.to_csv(tmp_path / "h.csv")
        found = read_hypnogram(tmp_path / "h.csv", START)
        self.check(found)
        assert found.start_s == 60
        with pytest.warns(UserWarning, match="when its recording began is not known"):
            assert read_hypnogram(tmp_path / "h.csv").start_s == 0

    def test_its_events(self, hypnogram, tmp_path):
        hypnogram.as_events().to_csv(tmp_path / "h.csv")
        self.check(read_hypnogram(tmp_path / "h.csv"), "Zoë")

    def test_its_text(self, tmp_path):
        self.check(read_hypnogram(text(tmp_path / "h.txt", "\n".join(NAMES) + "\n")))
        short = ["W", "n1", "N2", "N3", "R", "Art", "uns", "S2"]
        self.check(read_hypnogram(text(tmp_path / "s.txt", "stage\r\n" + "\r\n".join(short))))

    def test_its_integers(self, hypnogram, tmp_path):
        hypnogram.as_int().to_csv(tmp_path / "h.csv")
        self.check(read_hypnogram(tmp_path / "h.csv"), "Zoë")  # -2 is YASA's alone


class TestNumbers:
    def test_4_without_5_may_be_either(self, tmp_path):
        path = text(tmp_path / "h.txt", "0\n1\n2\n3\n4\n")
        with pytest.raises(ValueError, match=r"4 may be REM .* or stage 4, .*numbers='rk'"):
            read_hypnogram(path)
        assert read_hypnogram(path, numbers="yasa").stages.tolist() == [W, N1, N2, N3, REM]
        assert read_hypnogram(path, numbers="rk").stages.tolist() == [W, N1, N2, N3, N3]

    def test_5_and_more_are_rechtschaffens_and_kaless(self, tmp_path):
        found = read_hypnogram(text(tmp_path / "h.txt", "0\n4\n5\n6\n9\n"))
        assert found.stages.tolist() == [W, N3, REM, -1, -1]
        assert found.marks[3:] == (MOVED, UNS)

    def test_to_3_both_are_the_same(self, tmp_path):
        assert read_hypnogram(text(tmp_path / "h.txt", "0\n1\n2\n3\n")).stages.tolist() == [
            0,
            1,
            2,
            3,
        ]

    @pytest.mark.parametrize(
        "content, numbers, why",
        [
            ("0\n12\n", None, r"has the numbers \[12\], which stand for no stage"),
            ("0\n5\n", "yasa", r"has the numbers \[5\], which stand for no stage of YASA"),
            ("0\n1\n", "aasm", "numbers is 'yasa', 'rk' or None, got 'aasm'"),
            ("W\n3\n", None, "has '3' as the stage of its entry 2"),
        ],
    )
    def test_refused(self, tmp_path, content, numbers, why):
        with pytest.raises(ValueError, match=why):
            read_hypnogram(text(tmp_path / "h.txt", content), numbers=numbers)


class TestTables:
    def test_onset_and_duration(self, tmp_path):
        content = "Onset;Duration;Stage\n7,0;60;W\n67,0;30;N3\n"
        found = read_hypnogram(text(tmp_path / "h.csv", content))
        assert found.start_s == 7 and found.stages.tolist() == [W, W, N3]

    @pytest.mark.parametrize("first", [0, 1])
    def test_epochs_from_0_or_1_and_one_left_out(self, tmp_path, first):
        rows = "".join(f"{first + at}\t{name}\n" for at, name in ((0, "W"), (1, "N1"), (3, "N2")))
        found = read_hypnogram(text(tmp_path / "h.tsv", f"epoch\tsleep_stage\n{rows}"))
        assert found.stages.tolist() == [W, N1, -1, N2] and found.marks[2] == UNS

    def test_a_start_that_is_left_out(self, tmp_path):
        content = "onset,stage\n0,W\n30,N2\n60,N2\n120,N2\n"
        found = read_hypnogram(text(tmp_path / "h.csv", content))
        assert found.stages.tolist() == [W, N2, N2, -1, N2]

    def test_times_of_day_past_midnight(self, tmp_path):
        times = ("23:59:07", "23:59:37", "00:00:07", "00:00:37")
        rows = "".join(f"{time},N2\n" for time in times)
        found = read_hypnogram(text(tmp_path / "h.csv", f"time,stage\n{rows}"), START)
        assert found.start_s == 54 * 60 and found.stages.tolist() == [N2] * 4

    def test_dates_as_they_are_written_in_germany(self, tmp_path):
        content = "Start;Stage\n31.01.2026 23:06:07;W\n31.01.2026 23:06:37;REM\n"
        found = read_hypnogram(text(tmp_path / "Schlaf-ß.csv", content, "latin-1"), START)
        assert found.start_s == 60 and found.stages.tolist() == [W, REM]

    def test_encodings(self, tmp_path):
        for encoding in ("utf-8-sig", "utf-16"):
            path = text(tmp_path / f"{encoding}.txt", "W\nN2\n", encoding)
            assert read_hypnogram(path).stages.tolist() == [W, N2]
        path = text(tmp_path / "l.csv", "epoch,Müller\n0,W\n1,N2\n", "latin-1")
        assert read_hypnogram(path).scorer == "Müller"

    def test_no_names_of_columns(self, tmp_path):
        assert read_hypnogram(text(tmp_path / "a.csv", "1,W\n2,N2\n")).stages.tolist() == [W, N2]
        found = read_hypnogram(text(tmp_path / "b.csv", "60,W\n90,N2\n"))
        assert found.start_s == 60 and found.stages.tolist() == [W, N2]

    def test_epochs_of_20_s_become_30_s_with_a_warning(self, tmp_path):
        stages = ["W", "W", "N1", "N2", "N2", "N2"]
        rows = "".join(f"{20 * at},20,{name}\n" for at, name in enumerate(stages))
        path = text(tmp_path / "h.csv", f"onset,duration,stage\n{rows}")
        with pytest.warns(UserWarning, match=r"shortest stretch has 20 s\): 1 of 4 epochs"):
            assert read_hypnogram(path).stages.tolist() == [W, N1, N2, N2]
        path = text(tmp_path / "h.txt", "\n".join(stages))
        with pytest.warns(UserWarning, match="not scored in epochs of 30 s"):
            found = read_hypnogram(path, epoch_s=20)
        assert found.stages.tolist() == [W, N1, N2, N2]

    def test_probabilities(self, tmp_path):
        content = "epoch,stage,R,N3,N2,N1,W\n0,W,0.1,0.1,0.1,0.1,0.6\n1,UNS,,,,,\n"
        found = read_hypnogram(text(tmp_path / "h.csv", content))
        assert found.probabilities is not None and found.probabilities.dtype == np.float32
        assert found.probabilities[0].tolist() == pytest.approx([0.6, 0.1, 0.1, 0.1, 0.1])
        assert np.isnan(found.probabilities[1]).all()

    @pytest.mark.parametrize(
        "content, why",
        [
            ("", "is empty, expected a hypnogram"),
            ("W\n\nN2\n", "no stage in line 2; expected one in each line"),
            ("W\nN7\n", "has 'N7' as the stage of its entry 2; expected W, N1"),
            ("a,b,c\n1,2,3\n", r"columns \['a', 'b', 'c'\], and none with stages"),
            ("epoch,stage\n0,W\n1\n", "has 1 fields in its row 3"),
            ("epoch,stage\n0,W\n0,N2\n", "1 of them twice; expected each once"),
            ("epoch,stage\n57,W\n58,N2\n", "epochs from 57 to 58"),
            ("onset,stage\n0,W\n30,W\n77,N2\n", "starts that are 30 to 47 s apart"),
            ("onset,stage\n0,W\n30,N1\n90,N2\n", "and no durations; add a column"),
            ("onset,stage\n30,W\n0,N2\n", "a start at 0 s after one at 30 s; sort"),
            ("onset,stage\nsoon,W\n", "has the time 'soon'; expected seconds"),
            ("onset,stage\n", "no row; export it again"),
            ("epoch,stage,W,N1,N2,N3,REM\n0,W,1,1,0,0,0\n", "do not sum to 1"),
        ],
    )
    def test_refused(self, tmp_path, content, why):
        with pytest.raises(ValueError, match=why) as caught:
            read_hypnogram(text(tmp_path / "h.csv", content))
        assert "h.csv" in str(caught.value)


class TestLuna:
    def write(self, tmp_path, *rows: str) -> Path:
        head = "# a comment\nclass\tinstance\tchannel\tstart\tstop\tmeta\n"
        return text(tmp_path / "n.annot", head + "\n".join(rows) + "\n")

    def test_seconds_lengths_and_open_ends(self, tmp_path):
        rows = ("W\t.\t.\t0\t60\t.", "N2\t.\t.\t60\t+30\t.", "R\t.\t.\t90\t...\t.")
        with pytest.warns(UserWarning, match="1 stages without a length"):
            found = read_hypnogram(self.write(tmp_path, *rows))
        assert found.stages.tolist() == [W, W, N2, REM]

    def test_times_of_day_and_since_the_start(self, tmp_path):
        rows = ("N1\t.\t.\t23:59:37\t00:00:07\t.", "N3\t.\t.\t00:00:07\t00:00:37\t.")
        found = read_hypnogram(self.write(tmp_path, *rows), START)
        assert found.start_s == 54 * 60 + 30 and found.stages.tolist() == [N1, N3]
        rows = ("N1\t.\t.\t0+00:01:00\t0+00:01:30\t.",)
        assert read_hypnogram(self.write(tmp_path, *rows), START).start_s == 60

    def test_stages_as_instances_and_other_classes(self, tmp_path):
        rows = ("SleepStage\tN2\t.\t0\t30\t.", "arousal\t.\tC4\t3\t9\t.", "?\t.\t.\t30\t60\t.")
        with pytest.warns(UserWarning, match=r"no stages \('arousal'\)"):
            found = read_hypnogram(self.write(tmp_path, *rows))
        assert found.stages.tolist() == [N2, -1]

    def test_refused(self, tmp_path):
        with pytest.raises(ValueError, match="has the line 'N2 0 30'; expected class, instance"):
            read_hypnogram(self.write(tmp_path, "N2\t0\t30"))


def test_other_files(tmp_path):
    with pytest.raises(ValueError, match=r"one of the suffixes .edf, .bdf, .annot, .csv"):
        read_hypnogram(tmp_path / "h.docx")
    with pytest.raises(FileNotFoundError, match="is missing, expected a hypnogram"):
        read_hypnogram(tmp_path / "h.txt")
    (tmp_path / "h.txt").write_bytes(b"\0\1\2\3")
    with pytest.raises(ValueError, match="is no text"):
        read_hypnogram(tmp_path / "h.txt")
