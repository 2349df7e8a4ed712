"""Which trials the suite runs: teachers, the search of every method, all cases, and the curves.

Every method of a setting has the same number of trials, with few labels, in the first case. The
student alone and that on the labelled rows alone search their learning rates; every other method
takes over that of the student alone and searches the strength of its loss. What was found holds for
the other cases, the curves and twice the epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from xdistill.experiment.case import CASES, Case
from xdistill.experiment.methods import ALONE, LABELLED, UNTAUGHT
from xdistill.experiment.run_folder import Outcome, Result
from xdistill.experiment.setting import Setting
from xdistill.experiment.trial import AnyTrial, TeacherTrial, Trial

FACTORS = (1.0, 1 / 3, 3.0)
"""What the search tries: multiples of the learning rate, and of recommended weights."""
TWICE = (LABELLED, "dist")
"""Methods that are run with twice the epochs, beside the student alone with all labels."""

Kind = Literal["rows", "subjects", "missing"]
"""Along what a curve runs: the share of labels, the number of subjects that have them, or the share
of rows without a teacher."""
KINDS: tuple[Kind, ...] = get_args(Kind)

Settings = Mapping[str, Setting]
Done = Mapping[AnyTrial, Outcome]
Chosen = Mapping[tuple[str, Case, str, int], Trial]
"""The trial that is reported, by setting, case, method and seed."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        settings: by name.
        methods: the student alone first.
        seeds: of every method.
        cases: what teachers saw; the first is that in which methods search.
        labels: share of the labels that students see, by setting; each setting's own where None.
        searching: whether methods search; if not, they run at their recommended weights.
    """

    settings: Settings
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    cases: tuple[Case, ...] = CASES
    labels: float | None = None
    searching: bool = True

    def share(self, name: str) -> float:
        """The share of the labels that students of a setting see."""
        return self.settings[name].few_labels if self.labels is None else self.labels


@dataclass(frozen=True)
class Curves:
    """Which curves are run, beside the chosen trials.

    Attributes:
        settings: names of settings.
        methods: the student alone first.
        cases: the first is also that of the curve over missing teachers.
        labels: shares of the labels, by rows.
        groups: numbers of whole groups (subjects) with labels.
        missing: shares of rows without a teacher.
        present: how many groups of several rows have labels, by setting.
    """

    settings: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    labels: tuple[float, ...] = ()
    groups: tuple[int, ...] = ()
    missing: tuple[float, ...] = ()
    present: Mapping[str, int] = field(default_factory=dict)


def teachers(plan: Plan, case: Case) -> Iterator[TeacherTrial]:
    """The teachers of a case, of every setting and seed."""
    for name, setting in plan.settings.items():
        for seed in plan.seeds:
            for modality in setting.teachers:
                yield TeacherTrial(name, modality, seed, case=case)


def search(plan: Plan, name: str, method: str, seed: int, lr_factor: float = 1.0) -> list[Trial]:
    """What a method tries with a seed; one without a teacher tries learning rates itself."""
    labels = plan.share(name)
    if method == ALONE or (method in UNTAUGHT and plan.searching):
        return [Trial(name, method, seed, lr_factor=one, labels=labels) for one in FACTORS]
    first = Trial(name, method, seed, lr_factor, labels=labels, case=plan.cases[0])
    if method in UNTAUGHT or not plan.searching:
        return [first]
    return [replace(first, strength=factor) for factor in FACTORS]


def searches(plan: Plan, methods: Sequence[str], done: Done) -> Iterator[Trial]:
    """The trials of some methods. Those of the student alone come first: others take its rate."""
    for name, setting in plan.settings.items():
        for seed in plan.seeds if setting.own_splits else plan.seeds[:1]:
            alone = None if ALONE in methods else best_alone(plan, name, seed, done)
            for method in methods:
                if method == ALONE:
                    yield from search(plan, name, method, seed)
                elif alone is not None:  # else every run of it failed, as the method's would
                    yield from search(plan, name, method, seed, alone.lr_factor)


def best(trials: Sequence[Trial], done: Done) -> Trial | None:
    """The trial with the highest macro-F1 on validation, of equal ones the first; None if none."""
    ended = {
        trial: outcome.val.macro_f1
        for trial in trials
        if isinstance(outcome := done.get(trial), Result)
    }
    return max(ended, key=ended.__getitem__, default=None)


def best_alone(plan: Plan, name: str, seed: int, done: Done) -> Trial | None:
    """The best trial of the student alone in the search that counts for a seed."""
    return best(search(plan, name, ALONE, plan.settings[name].split(seed)), done)


def chosen_trials(plan: Plan, done: Done) -> dict[tuple[str, Case, str, int], Trial]:
    """The trial of each setting, case, method and seed that is reported."""
    found = {}
    for name, setting in plan.settings.items():
        for seed in plan.seeds:
            alone = best_alone(plan, name, seed, done)
            if alone is None:
                continue
            for case in plan.cases:  # the trials of a case follow each other, and share teachers
                for method in plan.methods:
                    trials = search(plan, name, method, setting.split(seed), alone.lr_factor)
                    if (one := best(trials, done)) is not None:
                        found[name, case, method, seed] = replace(one, seed=seed, case=case)
    return found


def bounds(plan: Plan, chosen: Chosen) -> dict[tuple[str, int], Trial]:
    """The student alone with all labels, by setting and seed."""
    return {
        (name, seed): replace(trial, labels=1.0)
        for (name, case, method, seed), trial in chosen.items()
        if method == ALONE and case == plan.cases[0]
    }


def curves(asked: Curves, chosen: Chosen) -> dict[tuple[str, Case, Kind], list[Trial]]:
    """The trials of each curve, by setting, case and kind.

    They are as chosen, with other numbers of labels, or of rows that have a teacher. A curve over
    rows, and one over missing teachers, begins with the chosen trials themselves.
    """
    found: dict[tuple[str, Case, Kind], list[Trial]] = {}
    for (name, case, method, _), trial in chosen.items():
        if name not in asked.settings or method not in asked.methods or case not in asked.cases:
            continue
        for kind in KINDS:
            if kind == "missing" and case != asked.cases[0]:
                continue
            if trials := _points(asked, kind, trial):
                found.setdefault((name, case, kind), []).extend(trials)
    return found


def _points(asked: Curves, kind: Kind, trial: Trial) -> list[Trial]:
    """The points of one method and seed on a curve."""
    if kind == "rows":
        fewer = [replace(trial, labels=share) for share in asked.labels]
        return [trial, *fewer] if fewer else []
    if kind == "subjects":
        numbers = [one for one in asked.groups if one <= asked.present.get(trial.setting, 0)]
        return [replace(trial, labels=1.0, groups=one) for one in numbers]
    if trial.method in UNTAUGHT:  # it looks at no teacher
        return [trial] if asked.missing else []
    fewer = [replace(trial, missing=share) for share in asked.missing]
    return [trial, *fewer] if fewer else []


def twice(plan: Plan, chosen: Chosen, bound: Mapping[tuple[str, int], Trial]) -> list[Trial]:
    """Trials with twice the epochs, in the first case."""
    once = [
        *bound.values(),
        *(
            trial
            for (_, case, method, _), trial in chosen.items()
            if case == plan.cases[0] and method in TWICE
        ),
    ]
    return [replace(trial, epochs=2.0) for trial in once]
