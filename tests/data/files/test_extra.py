"""A library that is not installed is one sentence with the extra that installs it."""

import sys

import h5py
import numpy as np
import pytest
import soundfile
from PIL import Image
from scipy.io import savemat

import xdistill as xd
from tests.data.files.films import write_film
from xdistill.data import samples
from xdistill.data.adapters.utd_mhad.clips import read_mat
from xdistill.data.files.clips import read_clip, write_clip
from xdistill.data.files.sound import read_sound


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_film(folder / "a.mp4", greys=[9, 9], sound_at_s=0.0)
    write_clip(folder / "a.hdf5", np.zeros((2, 8, 8), np.uint8))
    (folder / "frames").mkdir()
    Image.new("L", (8, 8)).save(folder / "frames" / "1.jpg")
    soundfile.write(folder / "a.wav", np.zeros(80), 8000)
    savemat(folder / "a.mat", {"d_iner": np.zeros((9, 6))})
    with h5py.File(folder / "multimodal_imdb.hdf5", "w"):
        pass
    samples.write_sleep_edf_sample(folder / "sleep", subjects=range(3), epochs=25)
    return folder


READERS = {
    "film": ("av", "video", lambda f: read_clip(f / "a.mp4")),
    "film's sound": ("av", "video", lambda f: read_sound(f / "a.mp4")),
    "film's images": ("PIL", "video", lambda f: read_clip(f / "frames")),
    "hdf5": ("h5py", "video", lambda f: read_clip(f / "a.hdf5")),
    "images in hdf5": ("PIL", "video", lambda f: read_clip(f / "a.hdf5")),
    "wav": ("soundfile", "audio", lambda f: read_sound(f / "a.wav")),
    "mat": ("scipy.io", "video", lambda f: read_mat(f / "a.mat", "inertial")),
    "mm_imdb": ("h5py", "video", lambda f: xd.create_dataset("mm_imdb", root=f)),
    "sleep_edf": ("mne", "eeg", lambda f: xd.create_dataset("sleep_edf", root=f / "sleep")),
    "writing a film": ("av", "video", lambda f: samples.write_ravdess_films(f / "films")),
    "writing hdf5": ("h5py", "video", lambda f: write_clip(f / "b.hdf5", np.zeros((1, 8, 8)))),
}


@pytest.mark.parametrize("name", READERS)
def test_the_extra_to_install_is_named(files, monkeypatch, name):
    module, extra, read = READERS[name]
    for loaded in [one for one in sys.modules if one.split(".")[0] == module.split(".")[0]]:
        if loaded == module or loaded.startswith(f"{module}."):
            monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"need .*`pip install xdistill\[{extra}\]`") as caught:
        read(files)
    assert "copy it again" not in str(caught.value)


@pytest.mark.parametrize("epochs", [3, 10, 20, 24, 25, 40])
def test_a_sample_of_any_length(tmp_path, epochs):
    root = samples.write_sleep_edf_sample(tmp_path, subjects=range(3), epochs=epochs)
    options = {"modalities": ["emg"], "folds": 3, "wake_minutes": None}
    splits = xd.create_dataset("sleep_edf", root=root, **options)
    rows = sum(map(len, splits))
    assert 3 * (epochs - 1) <= rows <= 3 * epochs  # without movement time


def test_a_sample_without_sleep_is_refused(tmp_path):
    with pytest.raises(ValueError, match="epochs is 3 or more, .* got 2"):
        samples.write_sleep_edf_sample(tmp_path, epochs=2)
