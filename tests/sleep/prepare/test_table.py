"""The table of nights: every mistake is found before any work, and no spreadsheet misread."""

import unicodedata
from pathlib import Path

import pytest

from xdistill.sleep.prepare.table import read_table, single_night


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.edf", "a.mp4", "a_h.edf", "b.edf", "b.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def write(folder: Path, *lines: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path = folder / "nights.csv"
    path.write_bytes((newline.join(lines) + newline).encode(encoding))
    return path


def test_a_row_becomes_a_night(files):
    table = read_table(
        write(
            files,
            "subject,night,eeg,video,hypnogram,video_offset_s,region,eeg_channel",
            'p1,first,a.edf,a.mp4,a_h.edf,-12.5,"0.1, 0.2, 0.9, 1",C4-M1 | F4-M1',
            "p2,,b.edf,b.mp4,YASA,,,",
        )
    )
    first, second = table.nights
    assert first.name == "first" and first.subject == "p1"
    assert first.files == {
        "eeg": files / "a.edf",
        "video": files / "a.mp4",
        "hypnogram": files / "a_h.edf",
    }
    assert first.video_offset_s == -12.5 and first.region == (0.1, 0.2, 0.9, 1)
    assert first.channels == {"eeg": ("C4-M1", "F4-M1")} and not first.yasa
    assert second.name == "p2-1" and second.yasa and second.hypnogram is None
    assert second.video_offset_s is None and second.region is None and second.channels == {}
    assert table.notes == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_write(files, encoding, separator, newline):
    (files / "nächte é.edf").write_bytes(b"0")
    rows = [
        ["Subject ", "EEG", "Video", "video_offset_s"],
        ["Jörg", " nächte é.edf ", "a.mp4", '"1,5"' if separator == "," else "1,5"],
        ["", "", "", ""],
    ]
    lines = [separator.join(row) for row in rows]
    table = read_table(write(files, *lines, encoding=encoding, newline=newline))
    (night,) = table.nights
    assert (night.subject, night.name, night.video_offset_s) == ("Jörg", "Jörg-1", 1.5)
    assert night.eeg == files / "nächte é.edf"
    assert [("Windows-1252" in note) for note in table.notes] == [True] * (encoding == "cp1252")


def test_excels_line_of_the_separator(files):
    (night,) = read_table(write(files, "sep=;", "subject;eeg", "p;a.edf")).nights
    assert night.eeg == files / "a.edf"


def test_letters_in_two_parts(files):
    name = "ä.edf"
    (files / unicodedata.normalize("NFD", name)).write_bytes(b"0")
    nfc, nfd = (unicodedata.normalize(form, "Jürg") for form in ("NFC", "NFD"))
    nights = read_table(
        write(files, "subject,eeg", f"{nfc},{unicodedata.normalize('NFC', name)}", f"{nfd},a.edf")
    ).nights
    assert nights[0].eeg is not None and nights[0].eeg.is_file()
    assert [night.subject for night in nights] == [nfc, nfc]
    assert [night.name for night in nights] == [f"{nfc}-1", f"{nfc}-2"]


def test_missing_files_are_listed_all_at_once(files):
    path = write(
        files, "subject,eeg,video", "a,a.edf,no1.mp4", "b,no2.edf,b.mp4", "c,no3.edf,no4.mp4"
    )
    with pytest.raises(FileNotFoundError) as error:
        read_table(path)
    text = str(error.value)
    assert all(f"no{number}" in text for number in (1, 2, 3, 4)) and "4 mistake(s)" in text
    assert f"line 3: missing {files / 'no2.edf'}, its eeg" in text


def test_other_mistakes_are_listed_with_their_lines(files):
    (files / "empty.edf").write_bytes(b"")
    (files / "folder").mkdir()
    path = write(
        files,
        "subject,night,eeg,video,hypnogram,video_offset_s,region,eog_channel",
        ",n,a.edf,,,,,",
        "p,,empty.edf,folder,,,,",
        "p,,,,,,,",
        "p,,,b.mp4,a_h.edf,,,",
        "p,,b.edf,b.mp4,,nan,0 0 2 1,E1||E2",
        "p/q,,b.edf,,,3,,",
        "p,,b.edf,b.mp4,,1e9,,",
    )
    with pytest.raises(ValueError) as error:
        read_table(path)
    text = str(error.value)
    for expected in (
        "line 2: has no subject",
        "line 3: " + f"{files / 'empty.edf'} is empty",
        f"line 3: {files / 'folder'} is no file",
        "line 4: has neither eeg nor video",
        "line 5: has a hypnogram and no eeg",
        "line 6: has video_offset_s 'nan'",
        "line 6: has region '0 0 2 1'",
        "line 6: has eog_channel 'E1||E2'",
        "line 7: the night 'p/q-1' is to be part of a path",
        "line 7: has video_offset_s, which is between eeg and video",
        "line 8: has video_offset_s '1e9'",
        "line 8: the same files are in line 6",
    ):
        assert expected in text, expected


def test_clashes_of_nights(files):
    path = write(
        files,
        "subject,night,eeg,video,hypnogram",
        "p,N1,a.edf,a.mp4,a_h.edf",
        "p,n1,b.edf,b.mp4,a_h.edf",
        "q,x,a.edf,,",
    )
    with pytest.raises(ValueError) as error:
        read_table(path)
    text = str(error.value)
    assert "line 3: the night 'n1' is that of line 2" in text
    assert "is the hypnogram of line 2, too, of another recording" in text
    assert "is a file of line 2, which is of another subject" in text


def test_one_night_under_two_names(files):
    """A copy would be learned from and judged by; files of the same size alone are no copies."""
    for name in ("a.edf", "b.edf"):
        (files / name).write_bytes(name.encode() * 10)
    (files / "copy.edf").write_bytes((files / "a.edf").read_bytes())
    rows = ["subject,eeg,video", "p,a.edf,a.mp4", "q,b.edf,b.mp4"]
    assert len(read_table(write(files, *rows)).nights) == 2
    with pytest.raises(
        ValueError, match=r"line 4: .*copy\.edf has the content of .*a\.edf in line 2"
    ):
        read_table(write(files, *rows, "r,copy.edf,"))


def test_two_cameras_of_one_night(files):
    nights = read_table(write(files, "subject,eeg,video", "p,a.edf,a.mp4", "p,a.edf,b.mp4")).nights
    assert [night.name for night in nights] == ["p-1", "p-2"]


def test_columns(files):
    with pytest.raises(ValueError, match="unknown column 'vidoe': did you mean 'video'") as error:
        read_table(write(files, "subject,eeg,vidoe,age,eeg", "p,a.edf,,,"))
    assert "'#age'" in str(error.value) and "'eeg' occurs 2 times" in str(error.value)
    with pytest.raises(ValueError, match="expected the column subject"):
        read_table(write(files, "eeg", "a.edf"))
    assert len(read_table(write(files, "subject,eeg,#age", "p,a.edf,40")).nights) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "has no night"),
        (b"subject,eeg\n", "has no night"),
        (b"PK\x03\x04\x00\x00\xff", "no text"),
        (b"subject,eeg\np,a.edf,b.edf\n", "3 cells in line 2, expected 2"),
        (b'subject,eeg\n"p,a.edf\n', "is no table"),
    ],
)
def test_what_is_no_table(files, content, expected):
    path = files / "nights.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        read_table(path)


def test_no_table(files):
    with pytest.raises(FileNotFoundError, match="there is no table"):
        read_table(files / "other.csv")


def test_notes_of_files_elsewhere_and_of_subjects_in_two_cases(files):
    (files / "tables").mkdir()
    path = write(
        files / "tables",
        "subject,night,eeg",
        f"P1,one,{files / 'a.edf'}",
        "p1,two,../b.edf",
        newline="\r\n",
    )
    table = read_table(path)
    assert "2 files lie outside the table's folder" in table.notes[0]
    assert "differ in case alone" in table.notes[1]
    assert table.nights[1].eeg is not None and table.nights[1].eeg.samefile(files / "b.edf")


def test_one_night_of_the_command_line(files):
    night = single_night({"subject": "p", "eeg": str(files / "a.edf"), "hypnogram": "yasa"})
    assert night.name == "p-1" and night.yasa
    with pytest.raises(FileNotFoundError, match=r"missing .*no\.edf, its eeg; missing .*no\.mp4"):
        single_night({"subject": "p", "eeg": "no.edf", "video": "no.mp4"})
