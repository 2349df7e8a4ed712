"""A long film from a short one, without encoding it again: to measure how fast films are read."""

from __future__ import annotations

from pathlib import Path

from xdistill.extras import import_extra


def repeat_film(source: Path, target: Path, seconds: float) -> int:
    """Writes a film's packets again and again, each time later, until the film is long enough.

    What it shows jumps where it begins anew, so nothing about sleep can be learned from it.

    Args:
        source: a film that begins with a key frame, such as `write_simulated_night` writes.
        target: the long film, in a container that holds the same codec.
        seconds: its length; whole repetitions are written.

    Returns:
        Its number of frames.

    Raises:
        ValueError: a source without frames.
    """
    av = import_extra("av", "sleep", "a long film")
    written = begins = 0
    with av.open(str(target), "w") as output:
        stream = None
        while True:
            with av.open(str(source)) as container:
                track = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(track)
                    output.metadata.update(container.metadata)
                ends = begins
                for packet in container.demux(track):
                    if packet.pts is None:
                        continue
                    step = packet.duration or round(1 / (track.average_rate * track.time_base))
                    ends = max(ends, begins + packet.pts + step)
                    packet.pts += begins
                    packet.dts = None if packet.dts is None else packet.dts + begins
                    packet.stream = stream
                    output.mux(packet)
                    written += 1
                if ends == begins:
                    raise ValueError(f"{source} has no frame to repeat; write a film first")
                begins = ends
                if begins * track.time_base >= seconds - 1e-6:
                    return written
