"""Clips in folders and HDF5 files: the order of frames, images upright, links and empty rows."""

import time

import h5py
import numpy as np
import pytest
from PIL import Image

from xdistill.data.files.clips import find_clip, read_clip, write_clip
from xdistill.data.files.images import open_image
from xdistill.data.files.names import inside, natural_key


def write_frames(folder, names):
    """The k-th name in this list is a frame of grey 20 · k."""
    folder.mkdir()
    for at, name in enumerate(names):
        Image.new("L", (16, 16), 20 * at).save(folder / name)


def greys_in(path, **options):
    clip = read_clip(path, **options)
    return (clip.float().mean(dim=(0, 2, 3)) / 20).round().int().tolist()


@pytest.mark.parametrize(
    "pattern", ["{}.jpg", "{}.JPG", "{}.png", "frame{}.PNG", "image_{:05d}.jpg", "a 1 {}.jpeg"]
)
def test_frames_are_in_the_order_of_their_numbers(tmp_path, pattern):
    write_frames(tmp_path / "a", [pattern.format(at) for at in range(1, 13)])
    assert greys_in(tmp_path / "a") == list(range(12))
    assert greys_in(tmp_path / "a", segment=(3, 6)) == [2, 3, 4]


def test_names_without_numbers_and_a_steady_step_are_no_gap(tmp_path):
    write_frames(tmp_path / "a", ["0.jpg", "10.jpg", "20.jpg", "100.jpg"][:3])
    write_frames(tmp_path / "b", ["first.jpg", "second.jpg"])
    write_frames(tmp_path / "c", ["a1.jpg", "b7.jpg", "b9.jpg"])
    assert greys_in(tmp_path / "a") == [0, 1, 2] and greys_in(tmp_path / "b") == [0, 1]
    assert greys_in(tmp_path / "c") == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.jpg", "2.jpg", "4.jpg", "5.jpg"], r"are 2 apart, and others 1 \(first: 2.jpg and 4"),
        (["1.jpg", "1.png", "2.jpg"], r"share a number \(first: 1.jpg and 1.png\)"),
    ],
)
def test_a_gap_is_a_warning(tmp_path, names, message):
    write_frames(tmp_path / "a", names)
    with pytest.warns(UserWarning, match=f"frames whose numbers {message}") as caught:
        assert greys_in(tmp_path / "a") == list(range(len(names)))
    assert len(caught) == 1


def test_natural_order_takes_any_name():
    names = ["a10", "a9", "a", "10", "9", "", "a9b2", "a9b10", "9" * 40, "²", "a٣"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("a9") < ordered.index("a10")
    assert ordered.index("a9b2") < ordered.index("a9b10") and ordered.index("9") < ordered.index(
        "10"
    )


def test_suffixes_in_upper_case_are_found(tmp_path):
    (tmp_path / "a.MP4").touch()
    (tmp_path / "b.HDF5").touch()
    assert find_clip(tmp_path, "a") == tmp_path / "a.MP4"
    assert find_clip(tmp_path, "b") == tmp_path / "b.HDF5"
    assert find_clip(tmp_path, "c") is None


def test_images_are_upright(tmp_path):
    """A bright corner at the top left is at the top right when the camera was turned."""
    pixels = np.zeros((32, 48), np.uint8)
    pixels[:8, :8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "1.jpg", exif=exif, quality=95)
    clip = read_clip(tmp_path / "a")
    assert clip.shape == (1, 1, 48, 32) and clip[0, 0, 3, -4] > 150 and clip[0, 0, 3, 3] < 50
    image = open_image(tmp_path / "a" / "1.jpg", 1)
    assert image.size == (32, 48) and image.getpixel((28, 3)) > 150
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        jpeg = np.frombuffer((tmp_path / "a" / "1.jpg").read_bytes(), np.uint8)
        file.create_dataset("video", (1,), dtype=h5py.vlen_dtype(np.uint8))[0] = jpeg
    assert (read_clip(tmp_path / "a.hdf5") == clip).all()


def test_sixteen_bits_are_refused_not_clipped(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match=r"mode 'I;16', expected 8 bits a value; scale them"):
        read_clip(tmp_path / "a")
    with pytest.raises(ValueError, match=r"1.png cannot be read as an image .*mode 'I;16'"):
        open_image(tmp_path / "a" / "1.png")


def test_frames_of_different_sizes(tmp_path):
    write_frames(tmp_path / "a", ["1.jpg"])
    Image.new("L", (8, 9), 20).save(tmp_path / "a" / "2.jpg")
    with pytest.raises(ValueError, match=r"different sizes \[\(9, 8\), \(16, 16\)\].*pass size"):
        read_clip(tmp_path / "a")
    assert greys_in(tmp_path / "a", size=16) == [0, 1]


@pytest.mark.parametrize("kind", ["external", "soft to external", "group", "virtual", "raw"])
def test_links_to_other_files_are_not_followed(tmp_path, kind):
    write_clip(tmp_path / "secret.hdf5", np.zeros((3, 8, 8), np.uint8))
    with h5py.File(tmp_path / "group.hdf5", "w") as file:
        file["a"] = h5py.ExternalLink("secret.hdf5", "/")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        if kind == "external":
            file["video"] = h5py.ExternalLink("secret.hdf5", "video")
        elif kind == "soft to external":
            file["b"] = h5py.ExternalLink("secret.hdf5", "video")
            file["video"] = h5py.SoftLink("/b")
        elif kind == "group":
            file["b"] = h5py.ExternalLink("secret.hdf5", "/")
            file["video"] = h5py.SoftLink("/b/video")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), np.uint8)
            layout[:] = h5py.VirtualSource("secret.hdf5", "video", (3,), np.uint8)
            file.create_virtual_dataset("video", layout)
        else:
            outside = [(str(tmp_path / "secret.hdf5"), 0, 3)]
            file.create_dataset("video", (3,), np.uint8, external=outside)
    with pytest.raises(ValueError, match=r"a\.hdf5 cannot be read .*another file, which is not"):
        read_clip(tmp_path / "a.hdf5")
    if "external" in kind:
        assert read_clip(tmp_path / "a.hdf5", allow_outside=True).shape == (1, 3, 8, 8)


def test_links_in_a_circle_end(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["video"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/video")
    with pytest.raises(ValueError, match=r"a\.hdf5 cannot be read"):
        read_clip(tmp_path / "a.hdf5")


def test_a_file_that_announces_millions_of_empty_rows_is_refused_at_once(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("video", (30_000_000,), dtype=h5py.vlen_dtype(np.uint8), chunks=True)
    assert (tmp_path / "a.hdf5").stat().st_size < 10_000
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"announces \(30000000,\) values .* can hold"):
        read_clip(tmp_path / "a.hdf5", frames=16)
    assert time.monotonic() - start < 1


def test_only_the_chosen_rows_of_an_hdf5_file_are_read(tmp_path, monkeypatch):
    write_clip(
        tmp_path / "a.hdf5",
        np.arange(12, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2) * 20,
    )
    real, asked = h5py.Dataset.__getitem__, []
    monkeypatch.setattr(
        h5py.Dataset, "__getitem__", lambda self, at: asked.append(at) or real(self, at)
    )
    assert greys_in(tmp_path / "a.hdf5", frames=3) == [2, 6, 10]
    assert asked == [2, 6, 10]


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "a/../../b", "", " ", "a\0b", "..", "C:\\a", "..\\a", "C:a"]
)
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"does not lead to a file below .*correct the table"):
        inside(tmp_path, name)
    with pytest.raises(ValueError, match="does not lead to a file below"):
        find_clip(tmp_path, name)


def test_names_within_a_folder_and_what_the_user_allows(tmp_path):
    assert inside(tmp_path, "a/b", "c..d") == tmp_path / "a" / "b" / "c..d"
    assert str(inside(tmp_path, "/x/y", allow_outside=True)) == "/x/y"
    assert inside(tmp_path, "../y", allow_outside=True) == tmp_path / ".." / "y"
