"""Every reader against files that were cut, flipped, emptied, renamed, or are of another kind.

Each is read right, refused with the file's name, or counted in a warning. Where a kind of file has
no checksum, a flipped value cannot be noticed by anybody; what must then hold is said by the
reader's ``unnoticed`` and ``why``.
"""

import contextlib

import pytest
from scipy.io import savemat

from tests.data.damage import (
    Reader,
    cuts,
    flat,
    flips,
    outcome,
    same,
)
from tests.data.damaged_readers import READERS, WAVE
from xdistill.data.adapters.utd_mhad.clips import read_mat


def test_no_bit_of_a_mat_file_s_tags_ends_the_process(tmp_path):
    """scipy takes an unknown type of values for an address."""
    path = tmp_path / "a.mat"
    savemat(path, {"d_iner": WAVE})
    content = path.read_bytes()
    for place in range(120, 200):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(bytes(damaged))
            with contextlib.suppress(ValueError):
                assert read_mat(path, "inertial").shape == WAVE.shape


FILES = sorted({reader.file: name for name, reader in READERS.items()}.values())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a reader's whole file, the file's content, and what is read from it."""
    known = {}

    def find(name: str):
        if name not in known:
            folder = tmp_path_factory.mktemp("whole")
            reader = READERS[name]
            reader.write(folder)
            (path,) = folder.rglob(reader.file)
            known[name] = folder, path, path.read_bytes(), flat(reader.read(folder))
        folder, path, content, expected = known[name]
        path.write_bytes(content)
        return folder, path, content, expected

    return find


def check(name, written, damaged, passes) -> dict[str, int]:
    """Reads each damaged content; the number of each outcome."""
    reader = READERS[name]
    folder, path, _, expected = written(name)
    counts = {"right": 0, "refused": 0, "counted": 0, "passed": 0}
    for at, content in enumerate(damaged):
        path.unlink()
        path.write_bytes(content)
        what, found = outcome(reader, folder)
        if what == "read":
            what = "right" if same(found, expected) else "passed"
            assert what == "right" or passes(found, expected), (at, reader.why, found)
        counts[what] += 1
    path.unlink()
    path.write_bytes(written(name)[2])
    return counts


@pytest.mark.parametrize("name", READERS)
def test_files_that_were_cut(name, written):
    counts = check(name, written, cuts(written(name)[2]), READERS[name].cut)
    assert sum(counts.values()) == 20
    if READERS[name].cut is Reader._field_defaults["cut"]:
        assert counts["refused"] + counts["counted"] >= 10


@pytest.mark.parametrize("name", READERS)
def test_files_with_a_flipped_bit(name, written):
    count = 20 if READERS[name].costly else 200
    counts = check(name, written, flips(written(name)[2], count), READERS[name].unnoticed)
    assert counts["refused"] + counts["counted"] > 0 or READERS[name].costly


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in READERS if READERS[name].costly])
def test_costly_files_with_a_flipped_bit(name, written):
    check(name, written, flips(written(name)[2], 200, seed=1), READERS[name].unnoticed)


@pytest.mark.parametrize("name", READERS)
def test_an_empty_file(name, written):
    folder, path, content, _ = written(name)
    path.write_bytes(b"")
    assert outcome(READERS[name], folder)[0] == "refused"
    path.write_bytes(content)


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_another_kind(name, written):
    """Every other kind of content under this name: refused, or read as what it is."""
    folder, path, content, _ = written(name)
    for other in FILES:
        if READERS[other].file == READERS[name].file:
            continue
        path.write_bytes(written(other)[2])
        what, found = outcome(READERS[name], folder)
        if what == "read":  # a film, sound or image tells its kind by its content
            assert same(found, written(other)[3]) or alike(name, other), other
    path.write_bytes(content)


def alike(name: str, other: str) -> bool:
    """Kinds that one library reads by their content: films, sounds, images."""
    kinds = (
        {"mp4", "mkv", "avi", "mpg", "flv"},
        {"mp4 sound", "mkv sound", "avi sound", "mp4", "mkv", "avi", "mpg", "flv"}
        | {"wav", "fsdd", "flac", "ogg", "mp3"},
        {"jpg", "png"},
        {"json", "s3ve.json", "ccl.json"},
    )
    return any({name, other} <= kind for kind in kinds)
