"""Time and memory of a contestant, measured in a fresh process."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernel_costs.contestants import OURS, PLAIN, LossFunction, contestant
from kernel_costs.problem import Problem, Setting, make_problem

MATMUL = "matmul"
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
"""Edge of the square matrices whose product shows the rate that the machine can reach."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}
"""Relative difference that is allowed between two values of one loss."""


@dataclass
class Timing:
    """Seconds of every round; `note` is the reason if there are none."""

    times: list[float] = field(default_factory=list)
    note: str = ""


@dataclass
class Memory:
    """Megabytes (2^20 bytes).

    Attributes:
        extra: peak during one step beyond what was in use before it, gradients included.
        process: peak of the process; on a GPU of PyTorch's allocator.
        seconds: duration of that step.
        note: the reason if there are no figures.
    """

    extra: float | None = None
    process: float | None = None
    seconds: float | None = None
    note: str = ""


def in_fresh_process(function: Callable[..., Any], *arguments: Any, spawn: bool = False) -> Any:
    """Call a function in a new process.

    A forked process shares the imports of a server that has computed nothing. With `spawn` it
    imports everything itself, so that all its memory is its own.

    Raises:
        BrokenProcessPool: the process was killed.
    """
    context = multiprocessing.get_context("spawn" if spawn else "forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def time_in_turn(
    setting: Setting, names: Sequence[str], repeats: int, least_s: float, patience_s: float
) -> dict[str, Timing]:
    """Time all contestants in each round, so that a busy machine slows all of them alike.

    A contestant runs at least `repeats` times and for `least_s`, but no longer once it has taken
    `patience_s`. A plain matrix product is timed in the same rounds.

    Raises:
        ValueError: two contestants compute different losses.
    """
    torch.set_num_threads(setting.threads)
    timings = {name: Timing() for name in (MATMUL, *names)}
    losses = {name: _load(setting.op, name, timings[name]) for name in names}
    problem, product = make_problem(setting), _matmul(setting)
    values: dict[str, float] = {}

    def is_due(name: str) -> bool:
        spent = sum(timings[name].times)
        enough = len(timings[name].times) >= repeats and spent >= least_s
        return not (timings[name].note or enough or spent >= patience_s)

    warmed = set()
    while due := [name for name in timings if is_due(name)]:
        for name in due:
            loss = losses.get(name)
            if name == MATMUL:
                timings[name].times.append(_seconds(product, setting)[0])
            elif loss is not None:
                seconds, value = _tried(loss, problem, setting, name, timings[name])
                if name in warmed and seconds is not None:
                    timings[name].times.append(seconds)
                elif value is not None:
                    values[name] = value
                warmed.add(name)
    check_equal(values, setting)
    return timings


def peak_memory(setting: Setting, name: str, warm_up_whole: bool) -> Memory:
    """Peak memory of one step of a contestant, after a step with few rows (or with all)."""
    torch.set_num_threads(setting.threads)
    failed = Timing()
    loss = _load(setting.op, name, failed)
    if loss is None:
        return Memory(note=failed.note)
    warm_up = make_problem(setting if warm_up_whole else setting.small())
    _tried(loss, warm_up, setting, name, failed)
    del warm_up
    if failed.note:
        return Memory(note=failed.note)
    problem = make_problem(setting)
    before = _reset_peak(setting.device)
    seconds, _ = _tried(loss, problem, setting, name, failed)
    peak = _peak(setting.device)
    if failed.note:
        return Memory(note=failed.note)
    return Memory((peak - before) / 2**20, peak / 2**20, seconds)


def killed_or(function: Callable[..., Memory], *arguments: Any, spawn: bool = False) -> Memory:
    """Call `function` in a fresh process; to be killed for lack of memory is a result, too."""
    try:
        return in_fresh_process(function, *arguments, spawn=spawn)
    except BrokenProcessPool:
        return Memory(note="killed: out of memory")


def _load(op: str, name: str, timing: Timing) -> LossFunction | None:
    try:
        return contestant(op, name)
    except ImportError:
        timing.note = "not installed"
        return None


def _tried(
    loss: LossFunction, problem: Problem, setting: Setting, name: str, timing: Timing
) -> tuple[float | None, float | None]:
    """Seconds and value of a step. A failure of another package is noted, one of ours is raised."""

    def step() -> Tensor:
        value = loss(problem)
        value.backward()
        return value

    problem.forget()
    try:
        return _seconds(step, setting)
    except torch.OutOfMemoryError:
        timing.note = "does not fit"
    except Exception as error:
        if name in (*OURS, PLAIN):
            raise
        timing.note = f"fails: {str(error).strip().splitlines()[0][:100]}"
    problem.forget()
    return None, None


def _seconds(step: Callable[[], Tensor], setting: Setting) -> tuple[float, float]:
    _wait(setting.device)
    begin = time.perf_counter()
    value = step()
    _wait(setting.device)
    return time.perf_counter() - begin, value.item()


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _matmul(setting: Setting) -> Callable[[], Tensor]:
    size = MATMUL_SIZE["cpu" if setting.device == "cpu" else "cuda"]
    dtype = getattr(torch, setting.dtype)
    one, two, out = (
        torch.ones(size, size, dtype=dtype, device=setting.device) for _ in range(3)
    )  # fmt: skip
    return lambda: torch.mm(one, two, out=out)[0, 0]


def matmul_flop(device: str) -> float:
    """Floating-point operations of the matrix product that `time_in_turn` times."""
    return 2 * float(MATMUL_SIZE["cpu" if device == "cpu" else "cuda"]) ** 3


def check_equal(values: dict[str, float], setting: Setting) -> None:
    """Compare the values of all contestants with that of the plain loss.

    Raises:
        ValueError: one differs by more than TOLERANCE.
    """
    if PLAIN not in values:
        return
    expected, limit = values[PLAIN], TOLERANCE[setting.dtype]
    wrong = {
        name: value
        for name, value in values.items()
        if abs(value - expected) > limit * max(1.0, abs(expected))
    }
    if wrong:
        raise ValueError(f"{setting}: the plain loss is {expected}, but got {wrong}")


def _reset_peak(device: str) -> float:
    """Bytes in use; resets the peak."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    # glibc keeps freed memory. Returned beforehand, it is counted if the step allocates it again.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # otherwise the peak may be that of the imports
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak(device: str) -> float:
    if device != "cpu":
        return float(torch.cuda.max_memory_allocated())
    return _status("VmHWM")


def _status(name: str) -> float:
    """A line of /proc/self/status in bytes; on systems without it, the peak of the process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return 1024.0 * int(line.split()[1])
