"""What a film says of itself, and what is refused."""

from datetime import datetime

import numpy as np
import pytest

from tests.data.files.films import rotate
from tests.sleep.films.coded import write_coded
from xdistill.sleep.films.facts import film_facts, start_time

pytest.importorskip("av")
TIMES_S = list(np.arange(100) / 5)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_facts_of_a_constant_rate(tmp_path, name):
    write_coded(tmp_path / name, TIMES_S, rate=5)
    facts = film_facts(tmp_path / name)
    assert (facts.width, facts.height, facts.frames) == (64, 48, 100)
    assert facts.duration_s == pytest.approx(20, abs=0.01)
    assert facts.rate_hz == pytest.approx(5, abs=0.01)
    assert not facts.variable and facts.lost == 0 and facts.rotation == 0 and facts.start is None


def test_facts_of_a_variable_rate(tmp_path):
    write_coded(tmp_path / "a.mkv", [0, 0.2, 0.4, 1.0, 1.1, 2.0], "libx264")
    facts = film_facts(tmp_path / "a.mkv")
    assert facts.variable and facts.frames == 6
    assert facts.duration_s == pytest.approx(2.2, abs=0.25)


def test_a_rotated_film_has_the_size_in_which_it_is_shown(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S[:5], rate=5)
    rotate(tmp_path / "a.mp4", 90)
    facts = film_facts(tmp_path / "a.mp4")
    assert (facts.width, facts.height, facts.rotation) == (48, 64, 270)


def test_the_start_comes_from_the_metadata(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S[:5], rate=5, created="2024-03-01T22:15:30.000000Z")
    expected = datetime.fromisoformat("2024-03-01T22:15:30+00:00").astimezone()
    assert film_facts(tmp_path / "a.mp4").start == expected.replace(tzinfo=None)


def test_a_start_with_the_cameras_own_offset_is_its_wall_clock():
    metadata = {
        "com.apple.quicktime.creationdate": "2024-03-01T23:15:30+0100",
        "creation_time": "2024-03-01T22:15:30.000000Z",
    }
    assert start_time(metadata) == datetime(2024, 3, 1, 23, 15, 30)
    assert start_time({"creation_time": "2024-03-01 22:15:30"}) == datetime(2024, 3, 1, 22, 15, 30)


@pytest.mark.parametrize("text", ["", "1904-01-01T00:00:00.000000Z", "2024", "last night"])
def test_a_clock_that_was_not_set_is_no_start(text):
    assert start_time({"creation_time": text, "date": text}) is None


def test_what_is_no_film_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no film .*a\.mp4"):
        film_facts(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_text("no film")
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a film"):
        film_facts(tmp_path / "a.mp4")


def test_a_film_without_pictures_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as film:
        sound = film.add_stream("aac", rate=16_000)
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
        heard.sample_rate = 16_000
        film.mux([*sound.encode(heard), *sound.encode(None)])
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read .* no film with pictures"):
        film_facts(tmp_path / "a.mp4")


def test_a_cut_mp4_without_its_index_is_refused(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S, rate=5)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="an MP4 that was cut has lost the index"):
        film_facts(tmp_path / "a.mp4")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_cut_mkv_says_how_much_is_lost(tmp_path, share):
    write_coded(tmp_path / "a.mkv", TIMES_S, rate=5)
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: int(len(content) * share)])
    assert film_facts(tmp_path / "a.mkv").lost == pytest.approx(1 - share, abs=0.1)
