"""Names that become part of a path."""

from __future__ import annotations

LONGEST = 200  # bytes; file systems allow 255, and endings are added


def plain_name(name: str, what: str) -> str:
    """The name, if it can stand in a path as one part of it.

    Args:
        name: of a modality, a method, a setting.
        what: what it names, for the message.

    Raises:
        ValueError: it is empty, begins with a dot, is too long, or has a separator of paths or a
            control character, so that a file would land elsewhere.
    """
    bad = not name or name.startswith(".") or any(one in '/\\:*?"<>|' for one in name)
    if bad or not name.isprintable() or len(name.encode()) > LONGEST:
        raise ValueError(
            f"{what} {name!r} is to be part of a path: it must have 1 to {LONGEST} bytes, not "
            'begin with a dot, and have no / \\ : * ? " < > | and no control character; rename it'
        )
    return name
