"""A process of its own, its time, and its memory over time."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 1.0


@dataclass(frozen=True)
class Usage:
    """What a process used.

    Attributes:
        seconds: wall time.
        cpu_s: time of all its threads.
        peak_mb: most resident memory, in 10⁶ bytes.
        memory_mb: resident memory at `at_s`.
        at_s: seconds since its start.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    memory_mb: list[float]
    at_s: list[float]


def measured(command: Sequence[str], *, cores: int | None = None) -> Usage:
    """Run a command to its end, on so many cores.

    Raises:
        RuntimeError: it failed; with the last lines that it wrote.
    """
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, allowed)), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    memory, at, peak = [], [], 0.0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        now, highest = _memory(status)
        peak = max(peak, highest)
        memory.append(now)
        at.append(round(time.perf_counter() - begin, 2))
        try:
            process.wait(EVERY_S)
        except subprocess.TimeoutExpired:
            continue
    seconds = time.perf_counter() - begin
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n" + "\n".join(output.splitlines()[-20:]))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(round(seconds, 2), round(cpu, 2), peak, memory, at)


def _memory(status: Path) -> tuple[float, float]:
    """Resident memory now and at its peak, in 10⁶ bytes; 0 where the process has ended."""
    try:
        text = status.read_text()
    except OSError:
        return 0.0, 0.0
    found = [re.search(rf"{key}:\s+(\d+) kB", text) for key in ("VmRSS", "VmHWM")]
    now, highest = (int(one[1]) * 1024 / 1e6 if one else 0.0 for one in found)
    return round(now, 1), round(highest, 1)
