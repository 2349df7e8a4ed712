"""VGGSound-100: strips of frames, sounds as files and waveforms, splits, what is refused."""

import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import xdistill as xd
from xdistill.data.adapters.vggsound_100 import CARD, vggsound_100
from xdistill.data.files.sound import read_log_mel
from xdistill.data.samples import write_vggsound_100_sample

SMALL = {"seconds": 0.5, "mels": 8, "frames": 2, "size": 32}
STRIP = "train/video_jpg/v1_00000002_204_2.jpg"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_vggsound_100_sample(tmp_path_factory.mktemp("vggsound_100"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "vggsound_100"))


def load(root: Path, **options) -> xd.Splits:
    return xd.create_dataset("vggsound_100", root=str(root), **{**SMALL, **options})


def listed(root: Path, **options) -> xd.PairedDataset:
    """The training part of the folders."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(root, split="published", **options).train


def test_both_splits(whole):
    splits = load(whole)
    assert [len(part) for part in splits] == [15, 3, 6]
    xd.check_disjoint(splits)
    with pytest.warns(UserWarning, match="no validation part"):
        published = load(whole, split="published")
    assert [len(part) for part in published] == [18, 6, 6]


def test_a_validation_folder_is_kept(root):
    (root / "val").mkdir()
    for name in ("video_jpg", "audio_npy"):
        (root / "val" / name).mkdir()
        for path in (root / "train" / name).glob("*_0.*"):
            path.rename(root / "val" / name / path.name)
    splits = load(root, split="published")
    assert [len(part) for part in splits] == [15, 3, 6] and splits.val.ids != splits.test.ids


def test_frames_stand_below_one_another(whole):
    part = listed(whole)
    row = part.ids.index("train/v1_00000002_204_2")
    with Image.open(whole / STRIP) as image:
        pixels = np.asarray(image, np.float32).reshape(2, 32, 32, 3).transpose(3, 0, 1, 2) / 255
    np.testing.assert_allclose(part.read("video", row), pixels, rtol=1e-6)
    assert int(part.target[row]) == 1
    first = listed(whole, frames=1, size=16).read("video", row)
    assert first.shape == (3, 1, 16, 16)


def test_a_waveform_and_a_sound_file_give_the_same(root):
    part = listed(root)
    row = part.ids.index("train/v1_00000002_204_2")
    waveform = root / "train" / "audio_npy" / "v1_00000002_204_2.npy"
    import soundfile

    sound = root / "train" / "audio" / "v1_00000002_204_2.wav"
    sound.parent.mkdir(exist_ok=True)
    soundfile.write(sound, np.load(waveform)[0], 16_000, subtype="FLOAT")
    expected = read_log_mel(sound, mels=8, seconds=0.5)
    torch.testing.assert_close(part.read("audio", row), expected)
    torch.testing.assert_close(listed(root).read("audio", row), expected)


def test_workers_load_it(whole):
    part = load(whole).train
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy.read("audio", 1), part.read("audio", 1))
    batch = next(iter(xd.paired_loader(part, 4, num_workers=2)))
    assert torch.equal(batch.inputs["video"][2], part.read("video", 2))


def test_missing_files_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"label_tiny.json is missing; .*https://"):
        load(tmp_path / "none")
    (root / "train" / "audio_npy" / "v1_00000002_204_2.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"v1_00000002_204_2.wav is missing, and so is"):
        load(root)
    assert load(root, modalities=["video"]).train.modalities == ("video",)
    shutil.rmtree(root / "test")
    with pytest.raises(FileNotFoundError, match=r"test/video_jpg/\*.jpg is missing"):
        load(root)


def test_damaged_files_are_named(root):
    labels = root / "label_tiny.json"
    content = labels.read_text()
    labels.write_text("[1]")
    with pytest.raises(ValueError, match="label_tiny.json is no JSON object of a class number"):
        load(root)
    labels.write_text(json.dumps({"17": 0}))
    with pytest.raises(ValueError, match=r"not named <film>_<key>_<number>.jpg"):
        load(root)
    labels.write_text(content)
    part = listed(root)
    row = part.ids.index("train/v1_00000002_204_2")
    waveform = root / "train" / "audio_npy" / "v1_00000002_204_2.npy"
    np.save(waveform, np.full((1, 9), np.nan))
    with pytest.raises(ValueError, match=r"204_2.npy: 9 of 9 values are NaN or infinite"):
        part.read("audio", row)
    waveform.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"204_2.npy cannot be read as a .npy array"):
        part.read("audio", row)
    with pytest.raises(ValueError, match="have 16000 samples a second"):
        listed(root, rate_hz=8000).read("audio", row)
    Image.new("RGB", (32, 50)).save(root / STRIP)
    with pytest.raises(ValueError, match="32 pixels wide and 50 high"):
        part.read("video", row)
    (root / STRIP).write_bytes(b"text")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        part.read("video", row)


def test_options_out_of_range(whole):
    with pytest.raises(ValueError, match="'published' or 'clean'"):
        vggsound_100(whole, split="random")
    with pytest.raises(ValueError, match="modalities is a list"):
        vggsound_100(whole, modalities="audio")


def test_the_card(whole):
    assert all(any(whole.glob(pattern)) for pattern in CARD.files)
