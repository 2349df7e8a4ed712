"""Sound: wav and the track of a film, rates, lengths, broken files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xdistill.data.files.sound import find_sound, read_log_mel, read_sound

RATE = 8000


def tone(seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype("f4")


@pytest.fixture
def wav(tmp_path) -> Path:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), 0 * tone()], axis=1), RATE)
    return tmp_path / "a.wav"


def test_a_wav_is_the_mean_of_its_channels(wav):
    sound = read_sound(wav, rate_hz=RATE)
    torch.testing.assert_close(sound[0], torch.from_numpy(tone() / 2), atol=1e-4, rtol=0)
    assert read_sound(wav, rate_hz=RATE, seconds=0.5).shape == (1, 4000)
    longer = read_sound(wav, rate_hz=RATE, seconds=1.5)
    assert longer.shape == (1, 12000) and not longer[:, 8000:].any() and longer[:, :8000].any()
    late = read_sound(wav, rate_hz=RATE, start_s=0.25)
    torch.testing.assert_close(late, sound[:, 2000:])


def test_another_rate_is_resampled(wav):
    pytest.importorskip("torchaudio")
    sound = read_sound(wav, rate_hz=2 * RATE, seconds=0.5)
    assert sound.shape == (1, 8000)
    peak = torch.fft.rfft(sound[0]).abs().argmax() / 0.5
    assert abs(float(peak) - 440) <= 2


def test_log_mel_has_its_peak_at_the_tone(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("torchaudio")
    peaks = []
    for hz in (300, 1000, 3000):
        soundfile.write(tmp_path / "a.wav", tone(hz=hz), RATE)
        mel = read_log_mel(tmp_path / "a.wav", mels=32, rate_hz=RATE, seconds=1.0)
        assert mel.shape == (32, 101) and torch.isfinite(mel).all()
        peaks.append(int(mel.mean(dim=1).argmax()))
    assert peaks == sorted(set(peaks))


def test_the_sound_of_a_film(shared_data):
    film = next(iter(sorted(Path(shared_data("grid_av_samples")).rglob("*.mpg"))), None)
    if film is None:
        pytest.skip("no film there")
    sound = read_sound(film, rate_hz=44_100)
    assert 2 * 44_100 < sound.shape[1] < 4 * 44_100 and 0.01 < sound.abs().max() <= 1.05


def test_sound_is_found_in_any_format(tmp_path):
    assert find_sound(tmp_path, "a") is None
    (tmp_path / "a.mp4").touch()
    assert find_sound(tmp_path, "a") == tmp_path / "a.mp4"
    (tmp_path / "a.wav").touch()
    assert find_sound(tmp_path, "a") == tmp_path / "a.wav"


def test_broken_files_are_named(wav):
    with pytest.raises(ValueError, match="holds 1 s of sound, but is to be read from 2 s on"):
        read_sound(wav, rate_hz=RATE, start_s=2.0)
    wav.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"a\.wav cannot be read as sound"):
        read_sound(wav)
