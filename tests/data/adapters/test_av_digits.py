"""Spoken and written digits: who is in which part, what a row holds, every broken file."""

import gzip
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.av_digits.adapter import CARD, DIGITS, av_digits
from xdistill.data.adapters.av_digits.files import read_mnist, read_waveform
from xdistill.data.files.sound import mel_spectrogram
from xdistill.data.samples.av_digits import write_av_digits_sample, write_wav


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_av_digits_sample(tmp_path_factory.mktemp("av_digits"))


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "av_digits"))


def halves(part: xd.PairedDataset) -> tuple[list[str], list[str]]:
    """Names of the recordings and of the images."""
    recordings, images = zip(*(name.split("+") for name in part.ids), strict=True)
    return list(recordings), list(images)


def stacked(part: xd.PairedDataset, modality: str) -> torch.Tensor:
    return torch.stack([part.read(modality, row) for row in range(len(part))]).flatten(1)


def nearest_mean(splits: xd.Splits, modality: str) -> float:
    """Accuracy on the test part of the nearest class mean of the training part."""
    train, test = stacked(splits.train, modality), stacked(splits.test, modality)
    means = torch.stack([train[splits.train.target == k].mean(dim=0) for k in range(10)])
    found = torch.cdist(test, means).argmin(dim=1)
    return float((found == splits.test.target).double().mean())


def test_the_published_split(whole):
    splits = xd.create_dataset("av_digits", root=str(whole))
    assert [len(part) for part in splits] == [90, 30, 60]
    for part, indices in zip(splits, ({10, 11, 12}, {5}, {0, 1}), strict=True):
        recordings, _ = halves(part)
        assert {int(name.split("_")[2]) for name in recordings} == indices
        assert [int(name[0]) for name in recordings] == part.target.tolist()
        assert part.classes == DIGITS
        assert part.group.unique().tolist() == [0, 1, 2]


def test_the_split_by_speakers(whole):
    splits = av_digits(whole, split="speakers")
    xd.check_disjoint(splits)
    assert [len(part) for part in splits] == [60, 60, 60]
    assert {name.split("_")[1] for name in halves(splits.test)[0]} == {"cleo"}
    chosen = av_digits(whole, split="speakers", test_speakers=["ben"], val_speakers=["cleo"])
    assert [part.group.unique().tolist() for part in chosen] == [[0], [2], [1]]
    assert av_digits(whole, split="speakers", test_speakers=["cleo"]).val.ids == splits.val.ids


@pytest.mark.parametrize("images", ["mnist", "t10k"])
@pytest.mark.parametrize("split", ["published", "speakers"])
def test_no_image_is_used_twice_and_all_show_the_digit(whole, images, split):
    splits = av_digits(whole, split=split, images=images)
    names = [name for part in splits for name in halves(part)[1]]
    assert len(set(names)) == len(names) == 180
    pools = [{name.split("_")[0] for name in halves(part)[1]} for part in splits]
    assert pools == ([{"t10k"}] * 3 if images == "t10k" else [{"train"}, {"train"}, {"t10k"}])
    for part in splits:
        for row, name in enumerate(halves(part)[1]):
            pool, place = name.split("_")
            pixels, labels = read_mnist(whole / "mnist", pool)
            assert labels[int(place)] == part.target[row]
            assert np.array_equal(
                (part.read("image", row)[0] * 255).round().numpy(), pixels[int(place)]
            )


def test_several_images_for_a_recording(root):
    write_av_digits_sample(root, images_per_digit=40)
    splits = av_digits(root, images_per_recording=2)
    assert [len(part) for part in splits] == [180, 60, 120]
    recordings, images = halves(splits.train)
    assert len(set(recordings)) == 90 and len(set(images)) == 180
    with pytest.raises(ValueError, match="24 rows need an image of their own of a zero, but train"):
        write_av_digits_sample(root, images_per_digit=20)
        av_digits(root, images_per_recording=2)


def test_the_pairs_follow_from_the_seed(whole):
    first, second, other = (av_digits(whole, seed=seed) for seed in (0, 0, 1))
    assert first.train.ids == second.train.ids
    assert first.train.ids != other.train.ids
    assert halves(first.train)[0] == halves(other.train)[0]


def test_shapes_and_values(whole):
    row = av_digits(whole).train[0]
    assert row.inputs["audio"].shape == (40, 101) and row.inputs["image"].shape == (1, 28, 28)
    assert 0 <= row.inputs["image"].min() < row.inputs["image"].max() <= 1
    row = av_digits(whole, audio="waveform", duration_s=0.5, size=4).train[0]
    assert row.inputs["audio"].shape == (1, 4000) and row.inputs["image"].shape == (1, 4, 4)
    assert row.inputs["audio"].dtype == row.inputs["image"].dtype == torch.float32
    assert 0.3 < row.inputs["audio"].abs().max() <= 1
    for options in ({}, {"audio": "waveform"}):
        train = av_digits(whole, **options).train.subset(range(5))
        xd.audit(train, required=("image",), optional=("audio",))


def test_log_mel_shows_the_tones(whole):
    splits = av_digits(whole, mels=64)
    bands = stacked(splits.train, "audio").view(-1, 64, 101)[:, :30, 5:15]  # the lower tone's
    strongest = bands.mean(dim=2).argmax(dim=1)
    low = strongest[splits.train.target == 0].double().mean()
    high = strongest[splits.train.target == 4].double().mean()
    assert high > low + 5


def test_both_halves_tell_the_digit(whole):
    splits = av_digits(whole)
    assert nearest_mean(splits, "audio") > 0.8
    assert nearest_mean(splits, "image") > 0.8


def test_an_image_is_averaged_over_cells(whole):
    full, small = av_digits(whole).train, av_digits(whole, size=4).train
    cells = full.read("image", 3).view(4, 7, 4, 7).mean(dim=(1, 3))
    torch.testing.assert_close(small.read("image", 3)[0], cells)


def test_noise_is_drawn_once(whole):
    clean, noisy = av_digits(whole), av_digits(whole, noise=0.5)
    assert noisy.train.ids == clean.train.ids
    image = noisy.train.read("image", 0)
    assert torch.equal(image, noisy.train.read("image", 0))
    assert torch.equal(image, av_digits(whole, noise=0.5).train.read("image", 0))
    assert 0.1 < (image - clean.train.read("image", 0)).abs().mean() < 0.6
    assert image.min() >= 0 and image.max() <= 1


def test_recordings_are_cut_or_filled_up(tmp_path):
    sound = np.linspace(0.1, 0.9, 6000)
    write_wav(tmp_path / "a.wav", sound)
    waveform = read_waveform(tmp_path / "a.wav", 8000)
    np.testing.assert_allclose(waveform[0, :6000], sound, atol=1e-4)
    assert not waveform[0, 6000:].any()
    np.testing.assert_allclose(read_waveform(tmp_path / "a.wav", 50)[0], sound[:50], atol=1e-4)


def test_files_that_are_not_packed(whole, tmp_path):
    write_av_digits_sample(tmp_path, packed=False)
    assert sorted(path.suffix for path in (tmp_path / "mnist").iterdir()) == [""] * 4
    plain, packed = av_digits(tmp_path).test, av_digits(whole).test
    assert torch.equal(plain.read("image", 7), packed.read("image", 7))
    assert torch.equal(plain.read("audio", 7), packed.read("audio", 7))


def test_folders_by_path(whole, tmp_path):
    splits = av_digits(tmp_path, fsdd=whole / "fsdd", mnist=str(whole / "mnist"))
    assert splits.train.ids == av_digits(whole).train.ids


def test_workers_read_the_same(whole):
    train = av_digits(whole, keep_gib=0.0).train
    train = pickle.loads(pickle.dumps(train))
    here, there = (
        next(iter(xd.paired_loader(train, 8, shuffle=True, num_workers=workers)))
        for workers in (0, 1)
    )
    assert torch.equal(here.index, there.index)
    assert torch.equal(here.inputs["audio"], there.inputs["audio"])


def test_audio_is_read_when_asked_for(root):
    splits = av_digits(root)
    path = root / "fsdd" / "recordings" / f"{halves(splits.train)[0][0]}.wav"
    splits.train.read("audio", 0)
    path.unlink()
    splits.train.read("audio", 0)  # kept
    with pytest.raises(ValueError, match=f"{path.name} cannot be read as a wav file"):
        av_digits(whole_but(root, path), keep_gib=0.0).train.read("audio", 0)


def whole_but(root: Path, path: Path) -> Path:
    """The folder with an empty file at the path."""
    path.touch()
    return root


def test_missing_data_say_whose_they_are(root):
    (root / "fsdd" / "recordings" / "._0_ada_0.wav").touch()  # what macOS leaves
    assert sum(map(len, av_digits(root))) == 180
    (root / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte is missing.*MNIST is"):
        av_digits(root)
    assert sum(map(len, av_digits(root, images="t10k"))) == 180
    for path in (root / "fsdd" / "recordings").glob("*.wav"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file named 0_george_0.wav. FSDD is"):
        av_digits(root)
    shutil.rmtree(root / "fsdd")
    with pytest.raises(FileNotFoundError, match=r"recordings is missing. FSDD is distributed"):
        av_digits(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as an idx file of 3 axes"),
        (gzip.compress(b"\0\0\x08\x03" + bytes(20)), "cannot be read"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\0" + bytes(12)), "begins with 0x801, not 0x803"),
        (gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7])), "has images"),
    ],
)
def test_damaged_images_are_named(root, content, message):
    (root / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=f"mnist.*t10k.*{message}"):
        av_digits(root)


@pytest.mark.parametrize(
    ("sound", "rate_hz", "message"),
    [
        (np.zeros(100), 16000, "100 samples of 1 channel.* at 16000 Hz; expected"),
        (np.zeros(0), 8000, "0 samples of 1 channel"),
    ],
)
def test_another_recording_is_refused(tmp_path, sound, rate_hz, message):
    write_wav(tmp_path / "a.wav", sound, sample_rate_hz=rate_hz)
    with pytest.raises(ValueError, match=f"a.wav holds {message}"):
        read_waveform(tmp_path / "a.wav", 8000)


def test_torchaudio_is_needed_for_spectrograms_alone(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.transforms", None)
    mel_spectrogram.cache_clear()
    assert av_digits(whole, audio="waveform").train.read("audio", 0).shape == (1, 8000)
    with pytest.raises(ImportError, match=r"need torchaudio.*pip install xdistill\[audio\]"):
        av_digits(whole).train.read("audio", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "official"}, "split is 'published' or 'speakers', got 'official'"),
        ({"images": "train"}, "images is 'mnist' or 't10k'"),
        ({"audio": "mfcc"}, "audio is 'log_mel' or 'waveform'"),
        ({"size": 29}, "size must be from 1 to 28"),
        ({"duration_s": 0.0}, "duration_s is above 0"),
        ({"noise": -1.0}, "noise is 0 or more"),
        ({"test_speakers": ["ada"]}, "pass split='speakers' with them"),
        ({"split": "speakers", "val_speakers": ["eve"]}, r"lists of \['ada', 'ben', 'cleo'\]"),
        ({"split": "speakers", "test_speakers": "ada"}, "are lists of"),
        (
            {"split": "speakers", "val_speakers": ["ada"], "test_speakers": ["ada"]},
            "that share no speaker",
        ),
        (
            {"split": "speakers", "val_speakers": ["ada"], "test_speakers": ["ben", "cleo"]},
            "leaves none for train",
        ),
    ],
)
def test_options_out_of_range(whole, options, message):
    with pytest.raises(ValueError, match=message):
        av_digits(whole, **options)


def test_the_card(whole):
    assert CARD.name in xd.list_datasets()
    assert {name for pair in CARD.pairs for name in pair} == {"audio", "image"}
    assert all(any(whole.glob(pattern)) for pattern in CARD.files)


def test_the_real_files(shared_data):
    folders = {"fsdd": shared_data("fsdd"), "mnist": shared_data("mnist_test")}
    splits = av_digits(".", images="t10k", **folders)
    assert [len(part) for part in splits] == [2400, 300, 300]
    for part, count in zip(splits, (240, 30, 30), strict=True):
        assert torch.bincount(part.target).tolist() == [count] * 10
        assert torch.bincount(part.group).tolist() == [len(part) // 6] * 6
    images = [name for part in splits for name in halves(part)[1]]
    assert len(set(images)) == 3000
    assert len(read_mnist(folders["mnist"], "t10k")[1]) == 10_000
    by_speaker = av_digits(".", images="t10k", split="speakers", **folders)
    assert [len(part) for part in by_speaker] == [2000, 500, 500]
    assert nearest_mean(splits, "image") > 0.7
    train, test = stacked(splits.train, "audio"), stacked(splits.test, "audio")
    nearest = splits.train.target[torch.cdist(test, train).argmin(dim=1)]
    assert (nearest == splits.test.target).double().mean() > 0.8
    assert bool(torch.isfinite(stacked(splits.val, "audio")).all())
    twice = av_digits(".", images="t10k", images_per_recording=2, **folders)
    assert [len(part) for part in twice] == [4800, 600, 600]
