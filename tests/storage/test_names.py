"""Names in paths, and files that are written as a whole."""

from __future__ import annotations

import errno

import pytest

from xdistill.storage.atomic import remove_partial, replacing
from xdistill.storage.names import LONGEST, plain_name


@pytest.mark.parametrize("name", ["eeg", "audio_small", "kd+sacd", "Schlaf-EEG ü", "a" * LONGEST])
def test_a_plain_name_is_itself(name):
    assert plain_name(name, "the modality") == name


BAD = ["", ".", "..", "../esc", "a/b", "a\\b", "C:x", ".hidden", "a\nb", "a\0", "a" * 201]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ValueError, match="the modality .* is to be part of a path"):
        plain_name(name, "the modality")


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "file"
    with replacing(path) as partial:
        partial.write_text("old")
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half of the n")
        raise KeyError
    refused = pytest.raises(OSError, match=r"folder/file cannot be written \(No space left")
    with refused as caught, replacing(path) as partial:
        raise OSError(errno.ENOSPC, "x")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_writers_have_names_of_their_own_and_remains_are_removed(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert path.read_text() == "1"
    left = tmp_path / ".file.0123.part"
    left.touch()
    remove_partial(path)
    assert list(tmp_path.iterdir()) == [path]
