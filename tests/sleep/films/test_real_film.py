"""A real infrared film of a person in bed who moves most of its 89 s."""

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("cv2")

from xdistill.sleep.films.epochs import film_epochs
from xdistill.sleep.films.facts import film_facts
from xdistill.sleep.marks import Mark
from xdistill.sleep.video_options import VideoOptions


def test_a_real_infrared_film(shared_data):
    path = shared_data("eventsleep_ir") / "subject09_config1.mp4"
    facts = film_facts(path)
    assert (facts.width, facts.height, facts.frames) == (700, 400, 534)
    assert facts.duration_s == pytest.approx(89) and facts.rate_hz == pytest.approx(6)
    assert not facts.variable and facts.start is None and facts.lost == 0
    one, other = film_epochs(path, VideoOptions())
    # The camera stands still and infrared has no colours; the picture is dim, not black.
    for epoch in (one, other):
        assert not epoch.marks & {Mark.CAMERA_MOVED, Mark.COLOUR, Mark.DARK, Mark.BRIGHT}
        assert epoch.clip.shape == (30, 48, 48) and epoch.clip.std() > 10
    # The person turns under the blanket in the second half minute, and lies still for a few
    # seconds at most: no breathing can be counted.
    assert other.features.activity > 1.5 * one.features.activity > 3
    assert np.isnan(other.features.breathing_rate)
    assert other.features.position_changes >= 1
