"""Sound: wav and the track of a film, rates, lengths, broken files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.files.films import RATE_HZ, write_film
from xdistill.data.files.film_sound import join
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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".mpg"])
def test_sound_that_begins_later_stays_there(tmp_path, suffix):
    """A tone from 1 to 2 s of a film: silence before it, as in the film."""
    pytest.importorskip("av")
    path = tmp_path / f"a{suffix}"
    codec = "mpeg2video" if suffix == ".mpg" else "mpeg4"
    write_film(path, codec, greys=[20] * 50, sound_at_s=1.0)
    loud = read_sound(path, rate_hz=RATE_HZ)[0].unfold(0, 160, 160).square().mean(1) > 0.02
    first, last = loud.nonzero()[[0, -1], 0].tolist()
    assert abs(first - 100) <= 10 and abs(last - 200) <= 10
    late = read_sound(path, rate_hz=RATE_HZ, start_s=1.1, seconds=0.5)
    assert late.square().mean() > 0.03


def test_gaps_are_silent_and_jumps_back_are_refused():
    ones = np.ones(8, np.float32)
    assert join([(0.0, ones), (None, ones)], 8).tolist() == [1.0] * 16
    assert (
        join([(0.5, ones), (2.0, ones)], 8).tolist()
        == [0.0] * 4 + [1.0] * 8 + [0.0] * 4 + [1.0] * 8
    )
    assert len(join([(0.0, np.ones(800)), (0.99, np.ones(800))], 800)) == 1600  # rounded times
    with pytest.raises(ValueError, match="sound jumps back to 0 s after 1 s; encode it again"):
        join([(0.0, ones), (0.0, ones)], 8)
    with pytest.raises(ValueError, match=r"sound has a gap of 1e\+06 s"):
        join([(1e6, ones)], 8)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_sound_that_was_cut_is_refused_or_all_there(tmp_path, suffix):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone(2.0), RATE)
    content, expected = path.read_bytes(), read_sound(path, rate_hz=RATE)
    for twentieth in range(20):
        path.write_bytes(content[: len(content) * twentieth // 20])
        try:
            found = read_sound(path, rate_hz=RATE)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert torch.equal(found, expected), f"{twentieth}/20"


def test_how_much_sound_may_be_missing_is_the_users_choice(wav):
    content, expected = wav.read_bytes(), read_sound(wav, rate_hz=RATE)
    wav.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a.wav holds 50.0% of the sound .* pass max_lost=0.5"):
        read_sound(wav, rate_hz=RATE, seconds=1.0)
    with pytest.warns(UserWarning, match=r"a.wav holds 50.0% of the sound that its header"):
        found = read_sound(wav, rate_hz=RATE, max_lost=0.6)
    assert torch.equal(found, expected[:, : found.shape[1]]) and 3900 < found.shape[1] < 4000


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mpg"])
def test_the_sound_of_a_film_that_was_cut(tmp_path, suffix):
    pytest.importorskip("av")
    path = tmp_path / f"a{suffix}"
    codec = "mpeg2video" if suffix == ".mpg" else "mpeg4"
    write_film(path, codec, greys=[20] * 25, sound_at_s=0.0)
    content, expected = path.read_bytes(), read_sound(path, rate_hz=RATE_HZ)
    for twentieth in range(20):
        path.write_bytes(content[: len(content) * twentieth // 20])
        try:
            found = read_sound(path, rate_hz=RATE_HZ)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert torch.equal(found, expected), f"{twentieth}/20"


def test_sound_is_found_in_any_format(tmp_path):
    assert find_sound(tmp_path, "a") is None
    (tmp_path / "a.mp4").touch()
    assert find_sound(tmp_path, "a") == tmp_path / "a.mp4"
    (tmp_path / "a.wav").touch()
    assert find_sound(tmp_path, "a") == tmp_path / "a.wav"
    (tmp_path / "B.WAV").touch()
    assert find_sound(tmp_path, "B") == tmp_path / "B.WAV"
    with pytest.raises(ValueError, match=r"the name '\.\./a' does not lead to a file below"):
        find_sound(tmp_path / "c", "../a")


def test_broken_files_are_named(wav):
    with pytest.raises(ValueError, match="holds 1 s of sound, but is to be read from 2 s on"):
        read_sound(wav, rate_hz=RATE, start_s=2.0)
    wav.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"a\.wav cannot be read as sound"):
        read_sound(wav)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (24, 16_000, "1 channels of 16 bits at 16000 Hz in 2 bytes a sample and 16000 a second"),
        (22, 2, "2 channels of 16 bits"),
        (4, 36 + 16_002 - 100, r"its blocks end at byte \d+,\d+, and the file at \d+,\d+"),
    ],
)
def test_a_wav_header_that_contradicts_itself(tmp_path, at, value, message):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE)
    content = bytearray(path.read_bytes())
    content[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match=f"a.wav has a header that contradicts itself: {message}"):
        read_sound(path, rate_hz=RATE)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_wav_files_of_every_kind_are_no_contradiction(tmp_path, subtype):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", tone(0.1)[:799], RATE, subtype=subtype)
    assert read_sound(tmp_path / "a.wav", rate_hz=RATE).shape[1] >= 799
