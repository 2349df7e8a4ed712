"""Arrays that are written through memory take their room beforehand."""

import errno
import os

import numpy as np
import pytest

from xdistill.storage.mapped import new_array


def test_zeros_that_keep_what_is_written(tmp_path):
    array = new_array(tmp_path / "a.npy", np.float32, [3, 1000])
    assert array.shape == (3, 1000) and not array.any()
    array[1] = 2
    array.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system has no such call")
def test_the_room_is_taken_at_once(tmp_path):
    new_array(tmp_path / "a.npy", np.uint8, [1 << 20])
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1 << 20


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    def fail(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
    number = errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        new_array(tmp_path / "a.npy", np.uint8, [10])
    number = errno.EOPNOTSUPP
    assert new_array(tmp_path / "b.npy", np.uint8, [10]).shape == (10,)
