"""Which files a night was prepared from, so that others are noticed."""

from __future__ import annotations

from typing import Any

from xdistill.sleep.prepare.fingerprint import fingerprint
from xdistill.sleep.prepare.options import Options
from xdistill.sleep.prepare.table import NightRow


def made_from(row: NightRow, options: Options) -> dict[str, Any]:
    """What decides the values of a night: options, the row's own, and its files.

    A file that was moved is the same; one with other content is not.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        "options": options.settings(),
        "subject": row.subject,
        "yasa": row.yasa,
        "video_offset_s": row.video_offset_s,
        "region": None if row.region is None else list(row.region),
        "channels": {kind: list(names) for kind, names in row.channels.items()},
        "files": {what: fingerprint(path) for what, path in row.files.items()},
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not the same, a line each: ``size: 48 before, 64 now``."""
    old, new = _flat(before), _flat(after)
    return [
        f"{name}: {old.get(name, 'nothing')} before, {new.get(name, 'nothing')} now"
        if not name.startswith("files.")
        else f"{name.removeprefix('files.')}: another file, or another content"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _flat(content: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in content.items():
        flat |= (
            _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
        )
    return flat
