"""Nights in processes of their own: one that crashes or is killed takes no other with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
Report = Callable[[float], None]
LEAST_STEP = 0.002
"""Of progress that is told."""


class Ended(NamedTuple, Generic[T]):
    """How one task ended.

    Attributes:
        name: of the task.
        result: what it returned; None if it failed.
        error: why it failed.
        stops: whether the others would fail in the same way.
    """

    name: str
    result: T | None
    error: str | None = None
    stops: bool = False


def run_all(
    work: Callable[[Any, Report], T],
    tasks: Iterable[tuple[str, Any]],
    *,
    workers: int,
    told: Callable[[str, float], None],
    stops: Callable[[Exception], bool],
) -> Iterator[Ended[T]]:
    """Run every task, and yield how each ended, as they end.

    With one worker they run here, one after the other. With more, each runs in a process that ends
    when this one does.

    Args:
        work: is called with a task and a function that it tells the share that is done.
        tasks: names and tasks; both they and the work are pickled.
        workers: tasks at the same time.
        told: is called with a task's name and share.
        stops: whether an error of one task would be that of all.
    """
    if workers == 1:
        for name, task in tasks:
            yield _run(work, name, task, lambda share, name=name: told(name, share), stops)
        return
    waiting = deque(tasks)
    running: dict[Connection, tuple[str, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                name, task = waiting.popleft()
                line, process = _start(work, name, task, stops)
                running[line] = (name, process)
            for line in wait(list(running)):
                name, process = running[line]  # pyright: ignore[reportArgumentType]
                message = _received(line, name, process)  # pyright: ignore[reportArgumentType]
                if isinstance(message, float):
                    told(name, message)
                    continue
                del running[line]  # pyright: ignore[reportArgumentType]
                process.join()
                yield message
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _start(
    work: Callable[[Any, Report], T], name: str, task: Any, stops: Callable[[Exception], bool]
) -> tuple[Connection, BaseProcess]:
    # Spawned, because a fork of a process in which torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, work, name, task, stops))
    process.start()
    there.close()
    return here, process


def _received(line: Connection, name: str, process: BaseProcess) -> Any:
    """A share, or how the task ended, also where its process died without saying so."""
    try:
        return line.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        more = "; the machine may be out of memory: use fewer --workers" if code == -9 else ""
        return Ended(name, None, f"its process ended with {how}{more}")


def _child(
    line: Connection,
    work: Callable[[Any, Report], T],
    name: str,
    task: Any,
    stops: Callable[[Exception], bool],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it, too, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    last = 0.0

    def tell(share: float) -> None:
        nonlocal last
        if share - last >= LEAST_STEP:
            last = share
            line.send(float(share))

    line.send(_run(work, name, task, tell, stops))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run(
    work: Callable[[Any, Report], T],
    name: str,
    task: Any,
    tell: Report,
    stops: Callable[[Exception], bool],
) -> Ended[T]:
    try:
        return Ended(name, work(task, tell))
    except Exception as error:  # whatever is wrong with a night, the others carry on
        known = isinstance(error, ValueError | OSError | ImportError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        return Ended(name, None, text, stops(error))
