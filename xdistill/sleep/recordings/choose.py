"""Which channels of a file are read for each kind, and what is subtracted from them."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xdistill.sleep.recordings.names import PREFERRED, canonical, electrode, named, rank
from xdistill.sleep.recordings.source import Channel, Source, labels_of

KINDS = ("eeg", "eog", "emg", "resp")
"""What is kept of a recording: brain, eyes, chin, and the movement of breathing."""
DERIVED = ("eeg", "eog")
"""Kinds that are differences of electrodes."""


class Derivation(NamedTuple):
    """A channel to read, and the channels whose mean is subtracted from it."""

    name: str
    plus: int
    minus: tuple[int, ...] = ()


def choose(
    source: Source,
    channels: Mapping[str, Sequence[str]] | None,
    reference: str | Sequence[str] | None,
) -> dict[str, tuple[Derivation, ...]]:
    """The derivations of each kind that are to be read; kinds without any are left out.

    Args:
        source: the file.
        channels: names for each kind; an empty list leaves a kind out, and for kinds that are not
            mentioned one channel is looked for.
        reference: electrodes whose mean is subtracted from EEG and EOG electrodes that were
            recorded alone.

    Raises:
        ValueError: a kind that is none, or a name that the file does not have.
    """
    given = dict(channels or {})
    if unknown := sorted(set(given) - set(KINDS)):
        raise ValueError(f"channels has the kinds {unknown}, expected some of {', '.join(KINDS)}")
    for kind, names in given.items():
        if isinstance(names, str):
            raise ValueError(f"channels[{kind!r}] is a list of names, got {names!r}")
    against = _reference(source, reference)
    chosen: dict[str, tuple[Derivation, ...]] = {}
    for kind in KINDS:
        if kind in given:
            found = tuple(_named(source, kind, name) for name in given[kind])
        else:
            found = _preferred(source, kind)
        if kind in DERIVED and against:
            found = tuple(_referenced(source, one, against) for one in found)
        if found:
            chosen[kind] = found
    return chosen


def _named(source: Source, kind: str, name: str) -> Derivation:
    found = named(source.channels, name)
    if not found and (pair := _pair(source.channels, canonical(name))):
        return pair._replace(name=name.strip())
    if not found:
        near = difflib.get_close_matches(
            canonical(name), [canonical(one.label) for one in source.channels], cutoff=0.5
        )
        hint = f"did you mean {near[0]!r}?" if near else "name one of them"
        raise ValueError(
            f"{source.path} has no channel {name!r} for {kind}, nor electrodes to make it from; it "
            f"has {labels_of(source.channels)}; {hint}"
        )
    if len(found) > 1:
        _warn_of_several(source, kind, name, found)
    return Derivation(source.channels[found[0]].label, found[0])


def _preferred(source: Source, kind: str) -> tuple[Derivation, ...]:
    """The best channel of a kind, or the best derivation that electrodes recorded apart allow."""
    ranked = sorted(
        (place, at)
        for at, one in enumerate(source.channels)
        if (place := rank(kind, one)) is not None
    )
    pairs = (
        (place, pair)
        for place, name in enumerate(PREFERRED[kind] if kind in DERIVED else ())
        if (pair := _pair(source.channels, name))
    )
    best = next(pairs, None)
    if best is not None and (not ranked or best[0] < ranked[0][0]):
        return (best[1],)
    if not ranked:
        return ()
    if len(ranked) > 1:
        _warn_of_several(source, kind, None, [at for _, at in ranked])
    at = ranked[0][1]
    return (Derivation(source.channels[at].label, at),)


def _warn_of_several(source: Source, kind: str, name: str | None, found: Sequence[int]) -> None:
    same = [source.channels[at] for at in found]
    wanted = f" named {name!r}" if name else ""
    warnings.warn(
        f"{source.path} has {len(found)} channels for {kind}{wanted}: {labels_of(same)}; "
        f"{same[0].label!r} is read. To read others, name them: channels={{{kind!r}: [...]}}",
        stacklevel=2,
    )


def _pair(channels: Sequence[Channel], name: str) -> Derivation | None:
    """A derivation like "c4-m1" from electrodes that were recorded apart."""
    plus, _, minus = name.partition("-")
    found = [
        [at for at, one in enumerate(channels) if electrode(one.label) == wanted]
        for wanted in (plus, minus)
    ]
    if not minus or not all(found):
        return None
    one, two = found[0][0], found[1][0]
    return Derivation(f"{channels[one].label}-{channels[two].label}", one, (two,))


def _reference(source: Source, reference: str | Sequence[str] | None) -> tuple[int, ...]:
    names = [reference] if isinstance(reference, str) else list(reference or ())
    found = []
    for name in names:
        places = [
            at
            for at, one in enumerate(source.channels)
            if electrode(one.label) == electrode(name) and "-" not in electrode(name)
        ]
        if not places:
            raise ValueError(
                f"{source.path} has no electrode {name!r} to refer to; it has "
                f"{labels_of(source.channels)}; leave the reference out, or name one of them"
            )
        found.append(places[0])
    return tuple(found)


def _referenced(source: Source, one: Derivation, against: tuple[int, ...]) -> Derivation:
    name = electrode(source.channels[one.plus].label)
    if one.minus or "-" in name or one.plus in against:
        raise ValueError(
            f"{source.path}: {one.name!r} is a difference of two electrodes already, or is the "
            "reference itself; leave the reference out, or name an electrode that was recorded "
            f"alone: {labels_of(source.channels)}"
        )
    minus = "+".join(source.channels[at].label for at in against)
    return Derivation(f"{one.name}-{minus}", one.plus, against)
