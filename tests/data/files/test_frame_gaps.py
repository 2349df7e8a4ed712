"""Frames that are missing within a film are counted, where its rate tells of them."""

import warnings

import numpy as np
import pytest

from tests.data.files.films import write_film
from xdistill.data.files.clips import read_clip
from xdistill.data.files.frame_gaps import frames_skipped

EVEN = np.arange(0, 40 * 50, 40)


@pytest.mark.parametrize(
    ("times", "skipped"),
    [
        (EVEN, 0),
        (np.delete(EVEN, 20), 1),
        (np.delete(EVEN, [10, 11, 12, 30]), 4),
        (np.delete(EVEN, [0, 49]), 0),  # at the ends there is no gap
        (np.round(np.arange(100) * 1000 / 30).astype(np.int64), 0),  # rounded to ms
        (np.delete(np.round(np.arange(100) * 1000 / 30).astype(np.int64), [50, 51]), 2),
        (np.cumsum(np.random.default_rng(0).integers(20, 90, 100)), 0),  # variable
        (np.concatenate([np.arange(9) * 1000, 9000 + np.arange(30) * 33]), 0),  # two rates
        (EVEN[[0, 1, 2, 4]], 0),  # too few to tell a rate
        (np.arange(0), 0),
    ],
)
def test_how_many_frames_a_gap_holds(times, skipped):
    assert frames_skipped(times) == skipped


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "mpeg4"), (".flv", "flv")])
def test_a_lost_frame_is_counted_in_a_warning(tmp_path, suffix, codec):
    path = tmp_path / f"a{suffix}"
    times = [40 * at for at in range(48)]
    write_film(path, codec, greys=range(10, 250, 5), times_ms=times)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_clip(path, size=16)[0]) == 48
    lacking = [at for at in range(48) if at not in (20, 21)]
    write_film(
        path,
        codec,
        greys=[10 + 5 * at for at in lacking],
        times_ms=[times[at] for at in lacking],
    )
    with pytest.warns(UserWarning, match=rf"a{suffix} shows 46 frames .* in which 2 more would be"):
        assert len(read_clip(path, size=16)[0]) == 46
