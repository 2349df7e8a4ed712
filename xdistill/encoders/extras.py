"""Optional libraries, imported only when an encoder that needs them is created."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection
from types import ModuleType


def import_extra(module: str, extra: str, what: str = "this encoder") -> ModuleType:
    """Import a library, or say in one sentence how to install it; `what` is what needs it.

    Raises:
        ImportError: it is not installed, or it is incompatible with the installed torch.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # a binary mismatch raises the latter two
        library = module.partition(".")[0]
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
