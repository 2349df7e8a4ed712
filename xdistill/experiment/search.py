"""Which trials the suite runs: teachers, the search of every method, and the curves.

Every method of a setting has the same number of trials. The student alone searches its learning
rate; every method takes over the best one and searches the strength of its loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from xdistill.experiment.methods import ALONE, UNTAUGHT
from xdistill.experiment.run_folder import Outcome, Result
from xdistill.experiment.setting import Setting
from xdistill.experiment.trial import AnyTrial, TeacherTrial, Trial

FACTORS = (1.0, 1 / 3, 3.0)
"""What the search tries: multiples of the learning rate, and of recommended weights."""

Settings = Mapping[str, Setting]
Done = Mapping[AnyTrial, Outcome]
Chosen = Mapping[tuple[str, str, int], Trial]
"""The trial that is reported, by setting, method and seed."""


def teachers(settings: Settings, seeds: Sequence[int]) -> Iterator[TeacherTrial]:
    """The teachers of every setting and seed."""
    for name, setting in settings.items():
        for seed in seeds:
            for modality in setting.teachers:
                yield TeacherTrial(name, modality, seed)


def search(name: str, method: str, seed: int, lr_factor: float = 1.0) -> list[Trial]:
    """What a method tries with a seed; one without a teacher tries learning rates itself."""
    if method in UNTAUGHT:
        return [Trial(name, method, seed, lr_factor=factor) for factor in FACTORS]
    return [Trial(name, method, seed, lr_factor, strength=factor) for factor in FACTORS]


def searches(
    settings: Settings, methods: Sequence[str], seeds: Sequence[int], done: Done
) -> Iterator[Trial]:
    """The trials of all methods. Those of the student alone come first: methods take its rate."""
    for name, setting in settings.items():
        for seed in seeds if setting.own_splits else seeds[:1]:
            for method in methods:
                alone = None if method in UNTAUGHT else best(search(name, ALONE, seed), done)
                if method in UNTAUGHT:
                    yield from search(name, method, seed)
                elif alone is not None:  # else every run of it failed, as the method's would
                    yield from search(name, method, seed, alone.lr_factor)


def best(trials: Sequence[Trial], done: Done) -> Trial | None:
    """The trial with the highest macro-F1 on validation, of equal ones the first; None if none."""
    ended = {
        trial: outcome.val.macro_f1
        for trial in trials
        if isinstance(outcome := done.get(trial), Result)
    }
    return max(ended, key=ended.__getitem__, default=None)


def best_alone(name: str, setting: Setting, seed: int, done: Done) -> Trial | None:
    """The best trial of the student alone in the search that counts for a seed."""
    return best(search(name, ALONE, setting.split(seed)), done)


def chosen_trials(
    settings: Settings, methods: Sequence[str], seeds: Sequence[int], done: Done
) -> dict[tuple[str, str, int], Trial]:
    """The trial of each setting, method and seed that is reported."""
    found = {}
    for name, setting in settings.items():
        for seed in seeds:
            alone = best_alone(name, setting, seed, done)
            if alone is None:
                continue
            for method in methods:
                trials = search(name, method, setting.split(seed), alone.lr_factor)
                if (one := best(trials, done)) is not None:
                    found[name, method, seed] = replace(one, seed=seed)
    return found


def curves(
    settings: Settings,
    methods: Sequence[str],
    seeds: Sequence[int],
    chosen: Chosen,
    labels: Sequence[float],
    missing: Sequence[float],
) -> Iterator[Trial]:
    """Runs at recommended weights with fewer labels, and with fewer rows that have a teacher."""
    shares = [(1.0, 0.0), *((one, 0.0) for one in labels), *((1.0, one) for one in missing)]
    for name in settings:
        for seed in seeds:
            alone = chosen.get((name, ALONE, seed))
            if alone is None or len(shares) == 1:
                continue
            for method in (ALONE, *methods):
                for label_share, missing_share in shares:
                    if method in UNTAUGHT and missing_share:
                        continue  # it looks at no teacher
                    yield Trial(
                        name,
                        method,
                        seed,
                        alone.lr_factor,
                        labels=label_share,
                        missing=missing_share,
                    )
