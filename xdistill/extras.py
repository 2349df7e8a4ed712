"""Optional libraries, imported only when something that needs them is used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import ModuleType


def import_extra(module: str, extra: str, what: str = "this encoder") -> ModuleType:
    """Import a library, or say in one sentence how to install it; `what` is what needs it.

    Raises:
        ImportError: it is not installed, or it is incompatible with the installed torch.
    """
    with needs_extra(extra, what, module):
        return importlib.import_module(module)


@contextmanager
def needs_extra(extra: str, what: str, module: str | None = None) -> Iterator[None]:
    """Say in one sentence how to install what the imports in this context lack.

    Args:
        extra: that of the package that brings it.
        what: what needs it.
        module: that is imported; None takes the name from the error.

    Raises:
        ImportError: names the library and the extra.
    """
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:  # a binary mismatch raises the latter two
        library = (module or getattr(error, "name", None) or "a library").partition(".")[0]
        raise ImportError(
            f"{what} needs {library}, which failed to import ({type(error).__name__}: "
            f"{error}); install it with `pip install xdistill[{extra}]`"
        ) from error


def require_known(what: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that a library does not have; `what` says what is named, "timm model".

    Raises:
        ValueError: unknown name; the message lists similar ones.
    """
    if name in known:
        return
    folded = {each.lower(): each for each in sorted(known)}
    near = [folded[each] for each in difflib.get_close_matches(name.lower(), folded, cutoff=0.5)]
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"known: {sorted(known)[:20]}"
    raise ValueError(f"unknown {what} {name!r}; {hint}")
