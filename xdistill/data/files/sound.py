"""Sound from a sound file or the track of a film, and its log-mel spectrogram."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from xdistill.data.files.clips import FILM_SUFFIXES
from xdistill.data.files.extra import reader
from xdistill.data.files.film import check_lost
from xdistill.data.files.film_sound import read_film_sound
from xdistill.data.files.names import find_file, has_suffix
from xdistill.data.files.riff import check_wav, share_of_riff_lost

WINDOW_S, HOP_S = 0.025, 0.010
FLOOR = 1e-6
"""Power below which a mel band counts as silent."""
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def find_sound(folder: Path, clip_id: str) -> Path | None:
    """The sound file or film of that clip, whichever ``folder`` has.

    Raises:
        ValueError: the id leads out of the folder.
    """
    return find_file(folder, clip_id, (*SOUND_SUFFIXES, *FILM_SUFFIXES))


def read_sound(
    path: Path,
    *,
    rate_hz: int = 16_000,
    seconds: float | None = None,
    start_s: float = 0.0,
    max_lost: float = 0.0,
) -> Float[Tensor, "1 t"]:
    """The mean of a recording's channels from -1 to 1 at ``rate_hz``.

    The sound of a film stays where it is heard: it is silent before it begins, and in gaps.

    Args:
        path: a sound file, or a film with sound.
        rate_hz: samples a second; a recording of another rate is resampled (torchaudio).
        seconds: length; cut at its end, or padded with silence. None keeps the length.
        start_s: where in the recording to begin.
        max_lost: the share that may be missing from what the file's header promises. A warning says
            how much is; more is an error.

    Raises:
        ValueError: a damaged file, one without sound, NaN, or one that ends before `start_s`.
        ImportError: PyAV, soundfile or torchaudio is needed and missing.
    """
    read = read_film_sound if has_suffix(path, FILM_SUFFIXES) else _read_sound_file
    try:
        samples, stored_hz, lost = read(path)
    except (ImportError, FileNotFoundError):
        raise
    except Exception as error:  # soundfile and av raise many kinds for a damaged file
        advice = "" if type(error) is ValueError else "; it may be truncated: copy it again"
        raise ValueError(
            f"{path} cannot be read as sound ({type(error).__name__}: {error}){advice}"
        ) from error
    check_lost(path, lost, max_lost, "sound")
    first = round(start_s * stored_hz)
    if len(samples) <= first:
        raise ValueError(
            f"{path} holds {len(samples) / stored_hz:g} s of sound, but is to be read from "
            f"{start_s:g} s on; copy it again or correct the annotation"
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds NaN or infinite samples; copy it again")
    waveform = torch.from_numpy(samples[first:])[None]
    if seconds is not None:
        waveform = waveform[:, : round(seconds * stored_hz)]
    if stored_hz != rate_hz:
        waveform = _torchaudio().functional.resample(waveform, stored_hz, rate_hz)
    if seconds is not None:
        length = round(seconds * rate_hz)
        waveform = F.pad(waveform[:, :length], (0, max(0, length - waveform.shape[1])))
    return waveform


def read_log_mel(
    path: Path,
    *,
    mels: int = 64,
    rate_hz: int = 16_000,
    seconds: float,
    start_s: float = 0.0,
    max_lost: float = 0.0,
) -> Float[Tensor, "m u"]:
    """Logarithm of the power of `read_sound` in mel bands: windows of 25 ms every 10 ms."""
    waveform = read_sound(
        path, rate_hz=rate_hz, seconds=seconds, start_s=start_s, max_lost=max_lost
    )
    return torch.log(mel_spectrogram(rate_hz, mels)(waveform)[0] + FLOOR)


@cache
def mel_spectrogram(rate_hz: int, mels: int) -> Any:
    """torchaudio's transform from waveforms [1, T] to the power in mel bands [1, M, U].

    Raises:
        ImportError: torchaudio is missing, or built for another version of torch.
    """
    window = round(WINDOW_S * rate_hz)
    return _torchaudio().transforms.MelSpectrogram(
        rate_hz,
        n_fft=2 * 2 ** (window - 1).bit_length(),  # so that each of the lowest mel bands has a bin
        win_length=window,
        hop_length=round(HOP_S * rate_hz),
        n_mels=mels,
        pad_mode="constant",  # silence before and after a recording
    )


def _torchaudio() -> Any:
    try:
        import torchaudio
        import torchaudio.functional
        import torchaudio.transforms
    except (ImportError, OSError, RuntimeError) as error:  # a binary mismatch raises the last two
        raise ImportError(
            f"spectrograms and resampling need torchaudio, which failed to import "
            f"({type(error).__name__}: {error}); install it with `pip install xdistill[audio]`, or "
            "ask for the waveform at its own rate"
        ) from error
    return torchaudio


def _read_sound_file(path: Path) -> tuple[np.ndarray, int, float]:
    """Samples, their rate, and the share of what the header promises that is not there."""
    soundfile = reader("soundfile", path)
    check_wav(path)
    promised = soundfile.info(path).frames
    sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)  # [t, c]
    if not len(sound):
        raise ValueError("it holds no sample")
    lost = max(share_of_riff_lost(path), 1 - len(sound) / promised)
    return sound.mean(axis=1), rate_hz, lost
