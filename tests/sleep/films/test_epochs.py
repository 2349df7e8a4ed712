"""Epochs of films: the right frames at the right times, whatever the film's rate and state."""

import warnings

import numpy as np
import pytest

from tests.data.files.films import rotate
from tests.sleep.films.coded import coded, numbers, write_coded
from xdistill.sleep.films.epochs import camera_epochs, film_epochs
from xdistill.sleep.films.facts import film_facts
from xdistill.sleep.grid import Grid
from xdistill.sleep.marks import Mark
from xdistill.sleep.video_options import VideoOptions

av = pytest.importorskip("av")
pytest.importorskip("cv2")
OPTIONS = VideoOptions(frames=10, size=24, body_rate_hz=4, body_size=24)
TIMES_S = list(np.arange(5 * 65) / 5)


def shown_at(times_s, start_s: float, length_s: float = 30.0, count: int = 10) -> list[int]:
    """The number of the frame that is shown at each moment of an epoch."""
    moments = start_s + (2 * np.arange(count) + 1) / (2 * count) * length_s
    return (np.searchsorted(np.array(times_s), moments + 1e-6, side="right") - 1).tolist()


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("b.avi", "libx264")],
)
def test_clips_are_the_frames_shown_at_their_moments(tmp_path, name, codec):
    options = {"bf": "2", "g": "25"} if codec == "libx264" else {}
    write_coded(tmp_path / name, TIMES_S, codec, rate=5, options=options)
    epochs = list(film_epochs(tmp_path / name, OPTIONS))
    assert [epoch.number for epoch in epochs] == [0, 1]  # the last 5 s are no epoch
    for epoch in epochs:
        assert numbers(epoch.clip) == shown_at(TIMES_S, 30 * epoch.number)
        assert epoch.clip.shape == (10, 24, 24) and epoch.clip.dtype == np.uint8
        assert epoch.body.shape == (18, 120) and epoch.body.dtype == np.float32


def test_a_variable_rate_is_read_by_time(tmp_path):
    rng = np.random.default_rng(0)
    times = np.round(np.cumsum(rng.uniform(0.03, 0.5, 230)), 3)
    times = list(times - times[0])
    write_coded(tmp_path / "a.mkv", times, "libx264")
    assert film_facts(tmp_path / "a.mkv").variable
    for epoch in film_epochs(tmp_path / "a.mkv", OPTIONS):
        assert numbers(epoch.clip) == shown_at(times, 30 * epoch.number)
        assert epoch.marks <= {Mark.LIGHT_STEP}


def test_a_grid_with_offset_and_drift_is_kept_to_a_frame(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S, rate=5)
    grid = Grid(start_s=1.7, count=2, drift=0.01)
    epochs = list(film_epochs(tmp_path / "a.mp4", OPTIONS, grid))
    assert [numbers(epoch.clip) for epoch in epochs] == [
        shown_at(TIMES_S, 1.7 + 30.3 * number, 30.3) for number in range(2)
    ]


def test_epochs_before_and_after_the_film_are_marked(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S, rate=5)
    grid = Grid(start_s=-45, count=5)
    with pytest.warns(UserWarning, match="2 of 5 epochs have no picture"):
        epochs = list(film_epochs(tmp_path / "a.mp4", OPTIONS, grid))
    assert [epoch.number for epoch in epochs] == list(range(5))
    empty = [epoch.clip is None for epoch in epochs]
    assert empty == [True, False, False, False, True]
    assert [epoch.body is None and epoch.features is None for epoch in epochs] == empty
    assert epochs[0].marks == epochs[4].marks == {Mark.NO_VIDEO}
    assert Mark.VIDEO_GAP in epochs[1].marks  # the film begins in its middle
    assert numbers(epochs[1].clip)[5:] == shown_at(TIMES_S, -15)[5:]
    assert numbers(epochs[1].clip)[:5] == [0] * 5  # its first picture stands for what is missing
    assert Mark.VIDEO_GAP not in epochs[2].marks
    assert Mark.VIDEO_GAP in epochs[3].marks  # it ends at 65 of 75 s


def test_a_gap_is_marked_where_it_is_and_nothing_is_shifted(tmp_path):
    times = [at for at in np.arange(5 * 120) / 5 if not 40 <= at < 99.9]
    write_coded(tmp_path / "a.mkv", times, "libx264")
    with pytest.warns(UserWarning, match="1 of 4 epochs have no picture"):
        epochs = list(film_epochs(tmp_path / "a.mkv", OPTIONS))
    gaps = [epoch.number for epoch in epochs if Mark.VIDEO_GAP in epoch.marks]
    assert gaps == [1, 3] and epochs[2].marks == {Mark.NO_VIDEO}
    for number in (0, 1, 3):
        assert numbers(epochs[number].clip) == shown_at(times, 30 * number)
    assert not epochs[1].body[:, 50:].any()  # no movement is seen in a gap, nor after it


def test_a_rotated_film_and_its_region_are_upright(tmp_path):
    """The upright picture has the low half above or below; the region takes one of them."""
    path = tmp_path / "a.mp4"
    write_coded(path, TIMES_S[:151], rate=5)
    rotate(path, 90)
    upper = VideoOptions(frames=3, size=16, body_rate_hz=2, body_size=16, region=(0, 0, 1, 0.45))
    lower = VideoOptions(frames=3, size=16, body_rate_hz=2, body_size=16, region=(0, 0.55, 1, 1))
    whole = VideoOptions(frames=3, size=16, body_rate_hz=2, body_size=16)
    parts = [next(film_epochs(path, each)).clip for each in (upper, lower, whole)]
    # Clockwise by 90 degrees: what was left is above.
    assert numbers(np.concatenate([parts[0], parts[1]], axis=2)) == shown_at(TIMES_S, 0, 30, 3)
    assert parts[2][:, :6].mean() == pytest.approx(parts[0].mean(), abs=3)
    assert parts[2][:, -6:].mean() == pytest.approx(parts[1].mean(), abs=3)


def test_damaged_packets_are_marked_and_the_rest_survives(tmp_path):
    path = tmp_path / "a.mkv"
    write_coded(path, np.arange(5 * 80) / 5, "mpeg4", rate=5, options={"g": "10"})
    with av.open(str(path)) as film:
        packets = [(p.time_base * p.pts, p.pos, bytes(p)) for p in film.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for at_s, position, data in packets:
        if 41 <= at_s < 41.5:
            place = content.index(data, position)
            content[place : place + len(data)] = b"\x5a" * len(data)
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="damaged; the epochs are marked"):
        epochs = list(film_epochs(path, OPTIONS))
    assert [Mark.VIDEO_DAMAGED in epoch.marks for epoch in epochs] == [False, True]
    times = np.arange(5 * 80) / 5
    assert numbers(epochs[0].clip) == shown_at(times, 0)
    found, expected = numbers(epochs[1].clip), shown_at(times, 30)
    assert found[:3] == expected[:3] and found[5:] == expected[5:]


@pytest.mark.parametrize("share", [0.35, 0.55, 0.8])
def test_a_cut_film_is_read_as_far_as_it_goes(tmp_path, share):
    path = tmp_path / "a.mkv"
    write_coded(path, np.arange(5 * 80) / 5, "mpeg4", rate=5, options={"g": "10"})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        epochs = list(film_epochs(path, OPTIONS, Grid(count=2)))
    assert "of the film that its header promises" in str(told[0].message)
    assert len(epochs) == 2
    last_s = film_facts(path).duration_s
    expected = shown_at(np.arange(5 * 80) / 5, 0)
    came = int(np.sum((2 * np.arange(10) + 1) / 20 * 30 < min(last_s, 30) - 0.2))
    assert numbers(epochs[0].clip)[:came] == expected[:came]
    assert (epochs[1].clip is None) == (last_s <= 30)
    with pytest.raises(ValueError, match="max_lost="):
        film_epochs(path, OPTIONS, max_lost=0.1)


def test_a_slow_film_is_warned_of(tmp_path):
    write_coded(tmp_path / "a.mp4", np.arange(40), rate=1)
    with pytest.warns(UserWarning, match="1 frames a second; breathing and movement need 2"):
        (epoch,) = film_epochs(tmp_path / "a.mp4", OPTIONS)
    assert numbers(epoch.clip) == shown_at(np.arange(40), 0)


def test_progress_ends_at_one(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S, rate=5)
    told = []
    list(film_epochs(tmp_path / "a.mp4", OPTIONS, progress=told.append))
    assert told == [0.5, 1.0]


def test_a_camera_gives_what_the_film_gives(tmp_path):
    """The same frames, lossless in the film: every value is equal."""
    from tests.sleep.films.beds import Bed, pictures, regular, write_bed

    times = list(np.round(np.cumsum(np.random.default_rng(1).uniform(0.06, 0.14, 680)), 3))
    times = [at - times[0] for at in times]
    bed = Bed(regular(14, 70), turns_s=[35], size=(160, 120))
    write_bed(tmp_path / "a.mkv", bed, times, "ffv1", pixels="gray")
    film = list(film_epochs(tmp_path / "a.mkv", OPTIONS))
    camera = list(camera_epochs(zip(times, pictures(bed, times), strict=True), OPTIONS))
    assert len(film) == len(camera) == 2
    for one, other in zip(film, camera, strict=True):
        np.testing.assert_array_equal(one.clip, other.clip)
        np.testing.assert_array_equal(one.body, other.body)
        assert one.marks == other.marks
        np.testing.assert_array_equal(one.features, other.features)


def test_an_epoch_depends_on_nothing_later():
    from tests.sleep.films.beds import Bed, pictures, regular

    times = np.arange(4 * 90) / 4
    bed = Bed(regular(14, 90), turns_s=[70], size=(96, 72))
    frames = list(zip(times, pictures(bed, times), strict=True))
    whole = list(camera_epochs(frames, OPTIONS))
    cut = list(camera_epochs(frames[: 4 * 60 + 1], OPTIONS))
    for one, other in zip(whole, cut, strict=False):
        np.testing.assert_array_equal(one.body, other.body)
    assert len(cut) == 2


def test_an_epoch_of_a_camera_comes_as_soon_as_it_is_over():
    came = []

    def frames():
        for number in range(5 * 61):
            came.append(number)
            yield number / 5, coded(number)

    next(camera_epochs(frames(), OPTIONS))
    assert len(came) == 151


def test_a_camera_that_is_not_there_is_refused(monkeypatch):
    import cv2

    class Nothing:
        def __init__(self, number):
            pass

        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Nothing)
    with pytest.raises(OSError, match="camera 7 cannot be opened"):
        next(camera_epochs(7, OPTIONS))
    Nothing.isOpened = lambda self: True
    Nothing.read = lambda self: (False, None)
    monkeypatch.setattr("xdistill.sleep.films.camera.PATIENCE_S", 0.05)
    with pytest.raises(OSError, match="delivered no frame"):
        next(camera_epochs(7, OPTIONS))


def test_frames_of_another_kind_or_order_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[h, w\].*float64"):
        list(camera_epochs([(0, np.zeros((8, 8))), (31, np.zeros((8, 8)))], OPTIONS))
    grey = np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match="order of their times"):
        list(camera_epochs([(0, grey), (1, grey), (1, grey)], OPTIONS))


def test_nothing_is_warned_of_in_a_whole_film(tmp_path):
    write_coded(tmp_path / "a.mp4", TIMES_S, rate=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(film_epochs(tmp_path / "a.mp4", OPTIONS))
