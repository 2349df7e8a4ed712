"""Prepared nights with some of the body's signals alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xdistill.report import read_json, write_json
from xdistill.storage.checksums import of_file


def with_signals(prepared: Path, out: Path, keep: Callable[[str], bool]) -> Path:
    """A copy of a prepared folder in which every signal of the body that is not kept is 0.

    The other files are links to the same content.
    """
    shutil.rmtree(out, ignore_errors=True)
    for path in prepared.rglob("*"):
        target = out / path.relative_to(prepared)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    for facts_path in out.glob("nights/*/night.json"):
        facts = read_json(facts_path)
        file = facts_path.with_name("body.npy")
        body = np.load(file)
        for place, channel in enumerate(facts["body"]["channels"]):
            if not keep(channel):
                body[:, place] = np.where(np.isfinite(body[:, place]), 0, np.nan)
        file.unlink()
        np.save(file, body)
        facts["files"]["body.npy"] = of_file(file)
        facts_path.unlink()
        write_json(facts_path, facts)
    return out
