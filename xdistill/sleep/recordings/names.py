"""Names of channels: what they mean, whatever a recorder's software makes of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xdistill.sleep.recordings.source import Channel

TYPES = ("eeg", "eog", "emg", "ecg", "ekg", "resp", "effort")
"""What EDF+ and recorders put before a name."""
SAME = {"a1": "m1", "a2": "m2", "loc": "e1", "roc": "e2", "leog": "e1", "reog": "e2"}
"""Electrodes that have two names: the mastoids and ears, and the outer corners of the eyes."""
REFERENCES = ("ref", "le", "avg", "common", "vref")
"""What follows an electrode's name when all are recorded against one."""
ELECTRODES = r"fp?\d{1,2}|fpz|fz|cz|pz|oz|[cpo]\d|t\d|e[12]|[lr]oc|m[12]|a[12]"

PREFERRED: dict[str, tuple[str, ...]] = {
    "eeg": (
        *("c4-m1", "c3-m2", "f4-m1", "f3-m2", "fpz-cz", "o2-m1", "o1-m2"),
        *("c4-m2", "c3-m1", "fz-cz", "cz-oz", "pz-oz", "c4-cz", "c3-cz", "c4-o2", "c3-o1"),
        *("c4", "c3", "f4", "f3", "fz", "cz", "fpz", "fp2", "fp1"),
    ),
    "eog": (
        *("e1-m2", "e2-m2", "e2-m1", "e1-m1", "e1-e2", "horizontal", "heog", "e1", "e2"),
        *("left", "right", "l", "r", "vertical", "veog"),
    ),
    "emg": ("chin1-chin2", "chin2-chin1", "chin", "submental", "chin1", "chin2", "emg1-emg2"),
    "resp": ("thorax", "thoracic", "thor", "tho", "chest", "abdomen", "abdominal", "abdo", "abd"),
}
"""Derivations of each kind, the best first (AASM manual for adults), in the form of `canonical`."""
PATTERNS: dict[str, tuple[str, ...]] = {
    "eeg": (),
    "eog": (r"eog",),
    "emg": (r"chin|mental", r"emg"),
    "resp": (r"thor|chest|\bthx?\b|\btho\b", r"abd", r"\brip\b|belt|effort", r"oro|flow|resp"),
}
"""Parts of names of that kind, after the preferred ones."""
ONLY_TYPED = ("horizontal", "left", "right", "l", "r", "vertical")
"""Names that mean an EOG only after its type."""
OTHERS = re.compile(
    r"leg|tib|\b[lr]at\b|plm|arm\b|rate|spo2|sao2|snor|pleth|pulse|posit|marker|co2|intercost"
)
"""Parts of names that mean something else: a leg's EMG, a rate of breathing."""


def canonical(label: str) -> str:
    """A name without its type, in lower case, with one hyphen between electrodes.

    "EEG C4-A1", "C4:M1", "c4 - m1" and "C4M1" are all "c4-m1"; "EOG LOC" is "e1".
    """
    name = label.strip().casefold()
    kind, _, rest = name.partition(" ")
    if kind in TYPES and rest.strip(" -:_"):
        name = rest
    parts = [part for part in re.split(r"[\s:_/.\-]+", name) if part]
    if len(parts) == 1 and (pair := re.fullmatch(rf"({ELECTRODES})({ELECTRODES})", parts[0])):
        parts = [pair[1], pair[2]]
    return "-".join(SAME.get(part, part) for part in parts)


def electrode(label: str) -> str:
    """The name of an electrode that was recorded against the recorder's own reference."""
    plus, _, minus = canonical(label).partition("-")
    return plus if minus in REFERENCES else canonical(label)


def rank(kind: str, channel: Channel) -> int | None:
    """How well a channel does for a kind, 0 the best; None if it is of another."""
    name, typed = electrode(channel.label), channel.label.strip().casefold()
    if channel.kind not in (None, "eeg", kind) or OTHERS.search(typed):
        return None  # files of mne call everything "eeg" that they know nothing about
    before = next((each for each in TYPES if typed.startswith(each)), None)
    if name in PREFERRED[kind] and before in (None, "eeg", "effort", kind):
        return None if name in ONLY_TYPED and before != kind else PREFERRED[kind].index(name)
    if before not in (None, kind) and not (kind == "resp" and before == "effort"):
        return None
    places = len(PREFERRED[kind])
    for at, pattern in enumerate(PATTERNS[kind]):
        if re.search(pattern, typed):
            return places + at
    if channel.kind == kind and kind != "eeg":
        return places + len(PATTERNS[kind])
    return None


def named(channels: Sequence[Channel], wanted: str) -> list[int]:
    """Positions of the channels of that name: exactly, else in any case, else in its meaning."""
    for same in (str, str.casefold, canonical, electrode):
        if found := [
            at for at, one in enumerate(channels) if same(one.label.strip()) == same(wanted.strip())
        ]:
            return found
    return []
