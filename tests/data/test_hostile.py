"""Tables and annotations that lead elsewhere, or are none: one sentence each, nothing is read."""

import json

import numpy as np
import pytest
from scipy.io import savemat

import xdistill as xd
from xdistill.data import samples
from xdistill.data.adapters.s3ve import s3ve, teacher_rows
from xdistill.data.adapters.utd_mhad.clips import read_mat
from xdistill.data.files.arrays import open_array, read_array
from xdistill.data.files.delimited import read_lines, read_table
from xdistill.data.files.json_file import name_of, read_json, segment_of
from xdistill.data.files.mat import read_mat_array
from xdistill.data.simulation import SampleConfig, generate


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("s3ve") / "s3ve"
    return generate(root, SampleConfig(subjects=3, clips_per_night=2), workers=1)


@pytest.fixture
def release(clips, tmp_path):
    """Annotations that a test may break; they find no file, so that none is copied."""
    content = json.loads((clips / "s3ve.json").read_text())

    def write(change=None, text=None):
        entry = next(iter(content["database"]))
        if change is not None:
            change(content, content["database"], entry)
        (tmp_path / "s3ve.json").write_text(json.dumps(content) if text is None else text)
        return tmp_path

    return write


def change_id(name):
    def change(_, database, entry):
        database[name] = database.pop(entry)

    return change


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", "a/../../b", "a\0"])
def test_an_id_does_not_lead_out_of_the_root(release, name):
    root = release(change_id(name))
    with pytest.raises(ValueError, match=r"s3ve.json cannot be used .*(does not lead|an id is)"):
        s3ve(root)
    with pytest.raises(ValueError, match=r"s3ve.json cannot be used"):
        teacher_rows(root)


def test_a_label_does_not_lead_out_of_the_root(release):
    def change(content, database, entry):
        content["labels"].append("../W")
        database[entry]["annotations"]["label"] = "../W"

    with pytest.raises(ValueError, match=r"the name '\.\./W' does not lead to a file below"):
        s3ve(release(change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, d, e: d[e].update(night_s=float("nan")), "the number NaN is not finite"),
        (lambda _, d, e: d[e].update(night_s=float("inf")), "the number Infinity is not finite"),
        (lambda _, d, e: d[e].update(night_s=True), "night_s of .* is True, expected seconds"),
        (lambda _, d, e: d[e].update(night_s=None), "cannot be used"),
        (lambda _, d, e: d[e].pop("night_s"), "of .* clips have the key 'night_s'"),
        (lambda _, d, e: d[e].update(subject=None), "has no key 'subject'"),
        (lambda _, d, e: d[e].update(subject=""), "is '', expected a name"),
        (lambda _, d, e: d[e].update(subject=1.5), "is 1.5, expected a name"),
        (lambda _, d, e: d[e].update(subject=["s1"]), r"is \['s1'\], expected a name"),
        (lambda _, d, e: d[e]["annotations"].update(segment=[1, float("inf")]), "not finite"),
        (lambda _, d, e: d[e]["annotations"].update(segment=[1]), r"the segment \[1\] is not"),
        (lambda _, d, e: d[e]["annotations"].update(segment="12"), "the segment '12' is not"),
        (lambda _, d, e: d[e]["annotations"].update(segment=[1, 2.5]), "is not .first frame"),
        (lambda c, *_: c["labels"].append(None), "a label is None, expected a name"),
        (lambda _, d, e: d.update({e: "text"}), "cannot be used"),
    ],
)
def test_annotations_with_a_wrong_value(release, change, message):
    with pytest.raises(ValueError, match=f"s3ve.json.*({message})"):
        s3ve(release(change))


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<"])
def test_a_bad_regular_expression(release, pattern):
    with pytest.raises(ValueError, match="is no regular expression"):
        s3ve(release(), subject_pattern=pattern)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "RecursionError|maximum recursion"),
        ('{"a": 1, "a": 2}', "the name 'a' occurs more than once in one object"),
        ('{"a": 1e999}', "the number 1e999 is not finite"),
        ("", "JSONDecodeError"),
        ('{"a": ' + "9" * 5000 + "}", "ValueError"),
    ],
)
def test_json_that_is_none(release, tmp_path, text, message):
    root = release(text=text)
    with pytest.raises(ValueError, match=rf"s3ve.json cannot be read as JSON \(.*({message})"):
        read_json(root / "s3ve.json")
    with pytest.raises(ValueError, match="s3ve.json cannot be used"):
        s3ve(root)
    for name, file in (
        ("activitynet", "activitynet.json"),
        ("ucf51", "ucf51_01.json"),
        ("vggsound_100", "label_tiny.json"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
        with pytest.raises(ValueError, match=f"{file} (cannot be used|is no JSON)"):
            xd.create_dataset(name, root=tmp_path / name)


def test_json_in_another_encoding(tmp_path):
    (tmp_path / "a.json").write_bytes('{"ü": 1}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a.json cannot be read as JSON \(UnicodeDecodeError"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes('{"ü": 1}'.encode("utf-8-sig"))
    assert read_json(tmp_path / "a.json") == {"ü": 1}


def test_names_and_segments():
    assert name_of("a", "x") == "a" and name_of(7, "x") == "7"
    assert segment_of(None) is None and segment_of([1, 31.0]) == (1, 31)
    for wrong in (None, "", " ", True, 1.0, [], {}):
        with pytest.raises(ValueError, match="x is .*, expected a name"):
            name_of(wrong, "x")


def table_of(tmp_path, *lines, name="s3ve.csv", encoding="utf-8"):
    header = "id,subject,label,video,eeg,start_s"
    (tmp_path / name).write_text("\n".join((header, *lines)) + "\n", encoding=encoding)
    return tmp_path


@pytest.mark.parametrize("path", ["../v.npy", "/etc/v.npy", "a/../../v.npy"])
@pytest.mark.parametrize("column", [3, 4])
def test_a_path_in_a_table_does_not_lead_out_of_the_root(tmp_path, path, column):
    row = ["a", "s", "W", "v.npy", "e.npy", "0"]
    row[column] = path
    with pytest.raises(ValueError, match=r"clip a: the name .* does not .*pass allow_outside=True"):
        s3ve(table_of(tmp_path, ",".join(row)), layout="features")


def test_the_user_may_allow_other_folders(tmp_path):
    (tmp_path / "root").mkdir()
    lines = []
    for at in range(6):
        np.save(tmp_path / f"{at}.npy", np.full(4, at))
        lines.append(f"{at},s{at},W,../{at}.npy,{tmp_path / f'{at}.npy'},0")
    root = table_of(tmp_path / "root", *lines)
    train = s3ve(root, layout="features", allow_outside=True).train
    assert train.read("video_features", 0).tolist() == [int(train.ids[0])] * 4
    assert train.read("eeg_features", 0).tolist() == [int(train.ids[0])] * 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,s,W,v,e,nan"], "start_s 'nan', expected seconds"),
        (["a,s,W,v,e,inf"], "start_s 'inf', expected seconds"),
        (["a,s,W,v,e,0", "a,s,W,v,e,30"], "names 'a' more than once"),
        ([",s,W,v,e,0"], "a row without a name"),
        (["a, ,W,v,e,0"], "clip a has no subject"),
        (["a,s,W,v,e"], r"has 5 fields in its line 2 \('a,s,W,v,e'\), expected 6"),
        (["a,s,W,v,e,0,7"], "has 7 fields in its line 2"),
        ([], "the names of its columns and no row"),
    ],
)
def test_a_table_with_a_wrong_row(tmp_path, lines, message):
    with pytest.raises(ValueError, match=rf"s3ve.csv.*{message}"):
        s3ve(table_of(tmp_path, *lines), layout="features")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("ü,1\n".encode("latin-1"), "is no text in UTF-8"),
        (b'"a\n', "is no list of lines"),
        (b"\xff\xfea\0", "is no text in UTF-8"),
    ],
)
def test_lists_that_are_none(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.csv {message}"):
        read_lines(tmp_path / "a.csv", "", "")
    with pytest.raises(ValueError, match=f"a.csv {message}"):
        read_table(tmp_path / "a.csv", ["a"], "", "")


def test_a_table_with_a_byte_order_mark_and_a_column_twice(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid, x\n1,2\n")
    assert read_table(tmp_path / "a.csv", ["id", "x"], "", "") == [{"id": "1", "x": "2"}]
    (tmp_path / "a.csv").write_text("id,id\n1,2\n")
    with pytest.raises(ValueError, match="each once"):
        read_table(tmp_path / "a.csv", ["id"], "", "")


LISTS = {
    "ave": (samples.write_ave_sample, "trainSet.txt", "Category&{}&good&0&10"),
    "kinetics_sounds": (samples.write_kinetics_sounds_sample, "my_train.txt", "{}_1,10,0"),
    "vggsound": (samples.write_vggsound_sample, "train_tiny.csv", "{},1,dog barking"),
    "vggsound_50k": (samples.write_vggsound_50k_sample, "VGGS50k_metadata.txt", "{}&3"),
}


@pytest.mark.parametrize("name", LISTS)
def test_names_in_lists_do_not_lead_out_of_the_root(tmp_path, name):
    write, file, line = LISTS[name]
    root = write(tmp_path / name)
    content = (root / file).read_text().splitlines()
    for wrong in ("../../secret", "/etc/passwd"):
        lines = [line.format(wrong) if name != "ave" else f"Bark&{wrong}&good&0&10", *content]
        (root / file).write_text("\n".join(lines))
        with pytest.raises(ValueError, match="does not lead to a file below"):
            xd.create_dataset(name, root=root)
    (root / file).write_text("\n".join([*content, content[-1]]))
    with pytest.raises(ValueError, match="more than once"):
        xd.create_dataset(name, root=root)


def test_an_entry_of_ccl_does_not_lead_out_of_the_root(tmp_path):
    root = samples.write_ccl_sample(tmp_path / "activitynet")
    (path,) = root.glob("*.json")
    content = json.loads(path.read_text())
    content["database"]["../../x"] = content["database"].pop(next(iter(content["database"])))
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not lead to a file below"):
        xd.create_dataset("activitynet", root=root)


def test_advice_names_only_options_that_there_are(tmp_path):
    for name, write in (
        ("crema_d", samples.write_crema_d_sample),
        ("ave", samples.write_ave_sample),
    ):
        root = write(tmp_path / name)
        clip = sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".mp4"))[0]
        clip.unlink()
        with pytest.raises(FileNotFoundError, match="clips lack") as caught:
            xd.create_dataset(name, root=root)
        assert ("allow_missing" in str(caught.value)) == (name == "ave")


def test_a_night_twice_is_refused(tmp_path):
    root = samples.write_sleep_edf_features_sample(tmp_path / "a")
    night = sorted(root.rglob("SC4*.npz"))[0]
    night.with_name(f"{night.stem} (1).npz").write_bytes(night.read_bytes())
    with pytest.raises(ValueError, match="names 'SC4001' more than once"):
        xd.create_dataset("sleep_edf_features", root=root, folds=3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1, 2], [3]], object), "d_iner is a cell array, expected an array of real"),
        (np.zeros((9, 6), complex), "d_iner is an array of complex numbers, expected"),
        ({"x": np.zeros(3)}, "d_iner is a struct"),
        ("text", "d_iner is text"),
    ],
)
def test_matlab_arrays_that_are_no_numbers(tmp_path, value, message):
    savemat(tmp_path / "a.mat", {"d_iner": value})
    with pytest.raises(ValueError, match=f"a.mat cannot be read as a MATLAB 5 file .*{message}"):
        read_mat(tmp_path / "a.mat", "inertial")
    with pytest.raises(ValueError, match=r"a.mat holds \['d_iner'\], expected the variable 'b'"):
        read_mat_array(tmp_path / "a.mat", "b")


def test_matlab_7_3_says_so(tmp_path):
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(head.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(ValueError, match=r"a.mat is a MATLAB 7.3 file.*save it with -v7"):
        read_mat(tmp_path / "a.mat", "inertial")


@pytest.mark.parametrize("dtype", [">f4", ">i2", ">f8", "<f2", "bool", ">u8", np.longdouble])
def test_any_real_numbers_in_any_byte_order_are_read_right(tmp_path, dtype):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    found = read_array(tmp_path / "a.npy")
    assert found.dtype == np.float32 and found.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("array", [np.array([1j]), np.array([{}], object), np.array(["a"])])
def test_the_reason_is_not_truncation_where_it_is_not(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match="a.npy cannot be read as a .npy array of num") as caught:
        read_array(tmp_path / "a.npy")
    assert array.dtype == object or "truncated" not in str(caught.value)


def test_a_mapped_file_of_another_length_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3), np.float32))
    content = (tmp_path / "a.npy").read_bytes()
    for length, message in ((-4, "may be truncated"), (4, "180 bytes, but its header .* 176")):
        (tmp_path / "a.npy").write_bytes(content[:length] if length < 0 else content + bytes(4))
        with pytest.raises(ValueError, match=f"a.npy .*{message}"):
            open_array(tmp_path / "a.npy", "")
        with pytest.raises(ValueError, match=f"a.npy .*{message}"):
            read_array(tmp_path / "a.npy")
