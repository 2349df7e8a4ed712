"""How far the nights are: a bar in a terminal, a line for every night elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from xdistill.extras import import_extra


class Progress:
    """Shows how many of the nights are done; to be used as a context.

    Args:
        nights: how many there are to do.
        terminal: whether to draw a bar, on standard error; None asks it and standard output.
    """

    def __init__(self, nights: int, *, terminal: bool | None = None):
        self._nights, self._ended = nights, 0
        self._shares: dict[str, float] = {}
        self._begin = time.monotonic()
        both = sys.stdout.isatty() and sys.stderr.isatty()
        bar = both if terminal is None else terminal
        self._bar = None
        if bar and nights:
            tqdm = import_extra("tqdm", "sleep", "the progress bar")
            form = "{l_bar}{bar}| {n:.2f}/{total} nights [{elapsed}<{remaining}]"
            self._bar = tqdm.tqdm(total=nights, bar_format=form, file=sys.stderr)

    def at(self, name: str, share: float) -> None:
        """A night is done to that share."""
        self._shares[name] = share
        if self._bar is not None:
            self._bar.n = min(self._nights, self._ended + sum(self._shares.values()))
            self._bar.refresh()

    def end(self, name: str, what: str) -> None:
        """A night is over; `what` says how it ended, in a line."""
        self._shares.pop(name, None)
        self._ended += 1
        minutes, seconds = divmod(round(time.monotonic() - self._begin), 60)
        text = f"[{self._ended}/{self._nights}] {name}: {what} ({minutes}:{seconds:02d})"
        if self._bar is None:
            print(text, flush=True)
        else:
            self._bar.n = self._ended + sum(self._shares.values())
            self._bar.write(text, file=sys.stdout)
            self._bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
