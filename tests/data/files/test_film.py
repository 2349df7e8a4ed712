"""Films by the time of their frames: variable rates, seeks, rotation, files that were cut."""

import numpy as np
import pytest

from tests.data.files.films import rotate, write_film
from xdistill.data.files.clips import pick_frames, read_clip
from xdistill.data.files.film import read_film

av = pytest.importorskip("av")
GREYS = tuple(range(10, 250, 5))
CODECS = {
    ".mp4": "mpeg4",
    ".mkv": "libx264",
    ".mov": "libx264",
    ".avi": "mpeg4",
    ".mpg": "mpeg2video",
    ".webm": "libvpx-vp9",
    ".flv": "flv",
}


def grey_of(image) -> int:
    return int(np.asarray(image.convert("L")).mean().round())


def greys_in(path, **options) -> list[int]:
    clip = read_clip(path, **options)
    return clip.float().mean(dim=(0, 2, 3)).round().int().tolist()


@pytest.fixture(params=CODECS)
def film(request, tmp_path):
    path = tmp_path / f"a{request.param}"
    try:
        write_film(path, CODECS[request.param], greys=GREYS)
    except (ValueError, av.FFmpegError) as error:
        pytest.skip(f"this PyAV cannot write {request.param}: {error}")
    return path


def whole(path) -> list[int]:
    """Every frame, decoded one after the other."""
    with av.open(str(path)) as opened:
        return [grey_of(frame.to_image()) for frame in opened.decode(video=0)]


def test_frames_are_spread_evenly_in_time_not_in_number(tmp_path):
    """Nine seconds dark with two frames a second, then one second bright with fifty."""
    times = [*range(0, 9000, 500), *range(9000, 10_000, 20)]
    greys = [20] * 18 + [220] * 50
    write_film(tmp_path / "a.mkv", greys=greys, times_ms=times)
    assert [grey > 100 for grey in greys_in(tmp_path / "a.mkv", frames=10)] == [False] * 9 + [True]
    by_number = [greys[at] > 100 for at in pick_frames(len(greys), 10)]
    assert by_number.count(False) == 3  # what spreading by number gives


def test_a_segment_is_spread_in_time_too(tmp_path):
    write_film(tmp_path / "a.mkv", greys=[20, 60, 100, 140], times_ms=[0, 100, 1000, 1100])
    found = greys_in(tmp_path / "a.mkv", frames=11, segment=(1, 4))
    assert found == pytest.approx([20, *[60] * 9, 100], abs=4)


def test_any_choice_of_frames_is_the_full_decode(film):
    expected = whole(film)
    assert len(expected) == len(GREYS) and expected == pytest.approx(GREYS, abs=6)
    assert greys_in(film) == expected
    for count in (1, 2, 5, 16, 47, 100):
        picked = [expected[at] for at in pick_frames(len(GREYS), count)]
        assert greys_in(film, frames=count) == pytest.approx(picked, abs=0 if count < 48 else 5)
    assert greys_in(film, frames=3, segment=(11, 41)) == [expected[at] for at in (15, 25, 35)]


def test_frames_are_found_by_a_seek_and_equal_the_full_decode(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_film(path, "libx264", greys=GREYS * 10, options={"g": "10", "bf": "2"})
    expected = whole(path)
    real, shown = av.open, []

    class Counted:
        def __init__(self, name):
            self.film = real(name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.film.close()

        def __getattr__(self, name):
            return getattr(self.film, name)

        def decode(self, track):
            for frame in self.film.decode(track):
                shown.append(frame.pts)
                yield frame

    monkeypatch.setattr(av, "open", Counted)
    assert read_film(path, grey_of, 4) == [expected[at] for at in (60, 180, 300, 420)]
    assert len(shown) <= 4 * 10
    for at in (0, 9, 10, 11, 239, 478, 479):
        assert read_film(path, grey_of, 1, (at + 1, at + 2)) == [expected[at]]


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_rotated_film_is_upright(tmp_path, degrees, corner):
    """The bright corner at the top left is where the film says that it is shown."""
    path = tmp_path / "a.mp4"
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :16] = 220
    with av.open(str(path), "w") as film:
        track = film.add_stream("mpeg4", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            film.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(track.encode(None))
    assert read_clip(path).shape == (1, 3, 48, 64)
    rotate(path, degrees)
    clip = read_clip(path)[0, 1]
    assert clip.shape == ((48, 64) if degrees == 180 else (64, 48))
    row, column = corner
    assert clip[4 if row == 0 else -4, 4 if column == 0 else -4] > 150
    assert (clip > 150).float().mean() < 0.15


def test_a_film_at_another_angle_is_refused(tmp_path):
    write_film(tmp_path / "a.mp4", greys=[9, 9])
    rotate(tmp_path / "a.mp4", 45)
    with pytest.raises(ValueError, match=r"a.mp4 is shown rotated by -?45 degrees, expected a"):
        read_clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("sound_at_s", [None, 0.0])
@pytest.mark.parametrize("suffix", CODECS)
def test_a_film_that_was_cut_is_refused_or_all_there(tmp_path, suffix, sound_at_s):
    """At every cut: an error that names the file, or every frame of the whole film."""
    path = tmp_path / f"a{suffix}"
    if sound_at_s is not None and suffix in (".webm", ".flv"):
        pytest.skip("this container holds no AAC at this rate")
    try:
        write_film(path, CODECS[suffix], greys=GREYS, sound_at_s=sound_at_s)
    except (ValueError, av.FFmpegError) as error:
        pytest.skip(f"this PyAV cannot write {suffix}: {error}")
    content, expected = path.read_bytes(), whole(path)
    for twentieth in range(20):
        path.write_bytes(content[: len(content) * twentieth // 20])
        try:
            found = greys_in(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert found == expected, f"{twentieth}/20"


def test_how_much_may_be_missing_is_the_users_choice(tmp_path):
    path = tmp_path / "a.mkv"
    write_film(path, "libx264", options={"g": "8"}, size=(320, 240))
    content, expected = path.read_bytes(), whole(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a.mkv holds (\d+)\.\d% of the film .* pass max_lost=0"):
        read_clip(path, frames=4)
    with pytest.raises(ValueError, match=r"truncated: copy it again, or pass max_lost"):
        read_clip(path, frames=4, max_lost=0.01)
    with pytest.warns(UserWarning, match=r"a.mkv holds \d+\.\d% of the film that its header"):
        clip = greys_in(path, max_lost=0.95)
    assert clip == expected[: len(clip)] and 0 < len(clip) < len(expected)


def test_the_films_of_grid(shared_data):
    path = sorted(shared_data("grid_av_samples").glob("*.mpg"))[0]
    expected = whole(path)
    assert len(expected) == 75
    assert greys_in(path, frames=5) == pytest.approx([expected[at] for at in (7, 22, 37, 52, 67)])


def test_films_of_grid_that_were_cut_between_two_packets(shared_data, tmp_path):
    """Their packets have 2,048 bytes, and a copy that stops does so at such a place."""
    noticed = []
    for path in sorted(shared_data("grid_av_samples").glob("*.mpg"))[:3]:
        content = path.read_bytes()
        assert len(read_film(path, grey_of)) == 75
        for sectors in range(8, len(content) // 2048, 9):
            (tmp_path / "a.mpg").write_bytes(content[: 2048 * sectors])
            try:
                read_clip(tmp_path / "a.mpg", frames=2, size=8)
            except ValueError as error:
                noticed.append("was cut before the end of the film; how much is" in str(error))
            else:
                noticed.append(False)
    assert sum(noticed) >= 0.95 * len(noticed) and len(noticed) > 50
    (tmp_path / "a.mpg").write_bytes(content[: len(content) // 2 // 2048 * 2048 - 100])
    with pytest.warns(UserWarning, match="how much is missing is not known"):
        assert read_clip(tmp_path / "a.mpg", frames=4, max_lost=1.0).shape[1] == 4


def test_the_infrared_film(shared_data):
    path = shared_data("eventsleep_ir") / "subject09_config1.mp4"
    expected = whole(path)
    assert greys_in(path, frames=3) == pytest.approx([expected[at] for at in (89, 267, 445)])
    assert greys_in(path, frames=2, segment=(101, 201)) == pytest.approx(
        [expected[at] for at in (125, 175)]
    )
