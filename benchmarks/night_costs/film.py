"""A film of eight hours that is made in minutes: a piece is encoded once and then repeated."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from xdistill.sleep.simulated import NightOptions, repeat_film, write_simulated_night

PIECE_H = 1 / 12
BIT_RATE = 1_000_000
"""Bits a second that cameras of this size spend; the simulated picture, clean as it is, takes a
tenth of that."""
NOISE = 6.0
"""Standard deviation of what is added to the grey levels, so that there is something to encode."""


def long_film(folder: Path, hours: float, width: int, height: int, fps: float) -> Path:
    """A film of that length, made in ``folder`` unless it is there.

    Five minutes of a simulated night are rendered and encoded with a camera's noise and bit rate;
    their packets are then written again and again with later times. A decoder has the same work
    with them as with a film that was encoded whole, and the sleeper moves and breathes all night.
    """
    path = folder / f"night-{hours:g}h-{width}x{height}-{fps:g}.mp4"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    name = f"piece-{width}x{height}-{fps:g}"
    piece = folder / f"{name}-noisy.mp4"
    if not piece.exists():
        options = NightOptions(
            hours=PIECE_H, from_hour=1.0, width=width, height=height, fps=fps, hypnogram=False
        )
        clean = write_simulated_night(folder, name, options).film
        with_noise(clean, piece)
    partial = path.with_suffix(".partial.mp4")
    repeat_film(piece, partial, 3600 * hours)
    partial.replace(path)
    return path


def with_noise(clean: Path, path: Path) -> None:
    """Encode a film anew, with noise on every frame and at `BIT_RATE`."""
    rng = np.random.default_rng(0)
    with av.open(str(clean)) as film, av.open(str(path), "w") as out:
        track = film.streams.video[0]
        stream = out.add_stream("libx264", rate=track.average_rate, bit_rate=BIT_RATE)
        stream.width, stream.height, stream.pix_fmt = track.width, track.height, "yuv420p"
        stream.codec_context.options = {"preset": "veryfast"}
        stream.codec_context.gop_size = 250
        out.metadata.update(film.metadata)
        height = track.height
        for frame in film.decode(track):
            picture = frame.to_ndarray(format="yuv420p")
            noise = rng.normal(0, NOISE, (height, picture.shape[1]))
            picture[:height] = np.clip(picture[:height] + noise, 16, 235)
            noisy = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            noisy.pts, noisy.time_base = frame.pts, frame.time_base
            out.mux(stream.encode(noisy))
        out.mux(stream.encode(None))
