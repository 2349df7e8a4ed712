"""A film that is repeated without being encoded again."""

import numpy as np
import pytest

from xdistill.sleep.simulated import NightOptions, write_simulated_night
from xdistill.sleep.simulated.repeat import repeat_film

av = pytest.importorskip("av")
pytest.importorskip("edfio")
pytest.importorskip("cv2")


@pytest.mark.parametrize("film", ["mp4", "mkv"])
def test_three_times_as_long_and_the_same_pictures(tmp_path, film):
    options = NightOptions(hours=1 / 120, film=film, codec="libx264")
    source = write_simulated_night(tmp_path, "short", options).film
    long = tmp_path / f"long.{film}"
    assert repeat_film(source, long, 75) == 450
    with av.open(str(long)) as container:
        frames = list(container.decode(video=0))
    times = np.array([float(frame.pts * frame.time_base) for frame in frames])
    np.testing.assert_allclose(times, np.arange(450) / 5, atol=1e-3)
    np.testing.assert_array_equal(frames[10].to_ndarray(), frames[310].to_ndarray())
    assert not np.array_equal(frames[10].to_ndarray(), frames[140].to_ndarray())
