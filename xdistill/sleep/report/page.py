"""The report of a staged night: one HTML page that a doctor can read."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.sleep.marks import Mark
from xdistill.sleep.report import html, pictures
from xdistill.sleep.report.agreement import Agreement, agreement
from xdistill.sleep.report.distance import (
    FAR,
    NEAR,
    TrainingNights,
    distance_from_training,
    distance_sentence,
)
from xdistill.sleep.report.held_out import FEW, HeldOutSleeper, Limits, limits_of_agreement
from xdistill.sleep.report.night import StagedNight
from xdistill.sleep.report.statistics import (
    MEASURES,
    UNSCORED,
    Measure,
    SleepStatistics,
    sleep_statistics,
)
from xdistill.sleep.report.student import StudentFacts

NO_DEVICE = (
    "This is not a medical device. The stages were estimated by a research programme from a video "
    "alone, without EEG. They must not be used for a diagnosis or a treatment decision; ask for a "
    "polysomnography where one is needed."
)
SHOWN_FIRST = ("TST", "SE", "SOL", "WASO", "REM_latency")
NOT_ESTIMATED = ("TIB", "missing")
"""What a student cannot be wrong about."""
ENOUGH = 0.3
"""Share of the epochs without a stage at which the statistics are called unusable."""


class Reference(NamedTuple):
    """A scorer's hypnogram of the night.

    Attributes:
        name: of its file or scorer.
        stages: int8 [E] on the night's epochs, -1 where there is none.
    """

    name: str
    stages: np.ndarray


def report_page(
    night: StagedNight, student: StudentFacts, reference: Reference | None = None
) -> str:
    """The whole report as HTML that needs nothing from elsewhere.

    Raises:
        ImportError: matplotlib is missing, or YASA for a reference.
        ValueError: the reference has other epochs, or no stage where the night has one.
    """
    statistics = sleep_statistics(night.stages)
    title = f"Sleep stages of {night.source}"
    begun = f"{night.start:%d %B %Y, %H:%M:%S}" if night.start else "at a time that it does not say"
    return html.page(
        title,
        [
            f"<h1>{html.escape(title)}</h1>",
            html.paragraph(
                f"Film begun {begun}; {duration(len(night.marks) * EPOCH_S)} in "
                f"{len(night.marks)} epochs of {EPOCH_S} s; staged by {student.name}.",
                "about",
            ),
            html.paragraph(NO_DEVICE, "note warning"),
            _missing_note(night),
            _distance_note(night, student.training),
            html.tiles(_tile(name, statistics, student.held_out) for name in SHOWN_FIRST),
            _hypnogram(night, reference),
            _statistics(statistics, student),
            _reference(night, student, reference),
            _body(night),
            _distance(night, student.training),
            _student(student),
            _marks(night),
        ],
    )


def duration(seconds: float) -> str:
    """As "7 h 52 min"; below an hour as minutes."""
    minutes = seconds / 60
    if minutes < 60:
        return f"{minutes:g} min"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest:02d} min"


def number(value: float, unit: str = "") -> str:
    """One decimal, or a dash for what does not exist."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.1f} {unit}".rstrip()


def likely_range(measure: Measure, value: float, limits: Limits, longest: float) -> str:
    """Where a scorer's value would lie in 95 of 100 sleepers like those held out."""
    if not math.isfinite(value) or not math.isfinite(limits.low):
        return "–"
    most = 100.0 if measure.unit == "%" else longest
    low, high = (min(max(value - one, 0.0), most) for one in (limits.high, limits.low))
    return f"{low:.0f} to {high:.0f} {measure.unit}"


def _missing_note(night: StagedNight) -> str:
    missing = int((night.stages == UNSCORED).sum())
    if not missing:
        return ""
    share = missing / len(night.marks)
    text = (
        f"{missing} of {len(night.marks)} epochs ({duration(missing * EPOCH_S)}) have no stage, "
        "since the film shows nothing there. They count as time in bed, and neither as sleep nor "
        f"as wakefulness: total sleep time may be up to {duration(missing * EPOCH_S)} longer."
    )
    if share > ENOUGH:
        text += " So much is missing that the statistics do not describe the night."
    return html.paragraph(text, "note warning")


def _distance_note(night: StagedNight, training: TrainingNights | None) -> str:
    if training is None:
        return ""
    found = distance_from_training(night.features, night.feature_names, training)
    text = distance_sentence(found, training)
    most = max([found.mahalanobis, *np.abs(found.z)], default=math.inf)
    near = bool(most < NEAR) and bool(found.names) and not found.missing
    return html.paragraph(text, "note" if near else "note warning")


def _tile(
    name: str, statistics: SleepStatistics, sleepers: tuple[HeldOutSleeper, ...]
) -> tuple[str, str, str]:
    measure = next(one for one in MEASURES if one.name == name)
    value = getattr(statistics, name)
    limits = limits_of_agreement(sleepers, name)
    likely = likely_range(measure, value, limits, statistics.TIB)
    below = "uncertainty unknown" if likely == "–" else f"a scorer: probably {likely}"
    return measure.label, number(value, measure.unit), below


def _hypnogram(night: StagedNight, reference: Reference | None) -> str:
    stages = None if reference is None else reference.stages
    wide, narrow = (
        pictures.hypnogram_picture(night, stages, narrow=narrow) for narrow in (False, True)
    )
    mean = float(np.nanmean(night.confidence)) if (night.stages >= 0).any() else math.nan
    return html.section(
        "Hypnogram",
        html.picture(
            wide,
            f"Hypnogram of {len(night.marks)} epochs with the probability of each stage",
            "Above the likeliest stage of every 30 s, below the probability of each stage, and at "
            "the bottom the confidence, which is the probability of the likeliest one "
            f"({number(100 * mean, '%')} on average). Hatched: no film, no stage.",
            narrow=narrow,
        ),
    )


def _statistics(statistics: SleepStatistics, student: StudentFacts) -> str:
    sleepers = student.held_out
    rows: list[list[str]] = []
    for measure in MEASURES:
        value = getattr(statistics, measure.name)
        row = [f"{measure.label}\n{measure.meaning}", number(value, measure.unit)]
        if sleepers and measure.name not in NOT_ESTIMATED:
            limits = limits_of_agreement(sleepers, measure.name)
            between = (
                f"{limits.low:+.1f} to {limits.high:+.1f}" if math.isfinite(limits.low) else "–"
            )
            bias = f"{limits.bias:+.1f}" if limits.sleepers else "–"
            likely = likely_range(measure, value, limits, statistics.TIB)
            row += [likely, bias, number(limits.absolute), between]
        elif sleepers:
            row += ["", "", "", ""]
        rows.append(row)
    header = ["measure", "this night"]
    if sleepers:
        header += ["a scorer would probably find", "mean error", "mean size", "95 % limits"]
    return html.section("Sleep statistics", _uncertainty_text(student), html.table(header, rows))


def _uncertainty_text(student: StudentFacts) -> str:
    sleepers = student.held_out
    if not sleepers:
        return html.paragraph(
            "By the definitions of the AASM manual. No sleeper was held out from this student's "
            "training, so nobody knows how wrong these numbers are.",
            "note warning",
        )
    text = (
        "By the definitions of the AASM manual. How wrong they may be is known from "
        f"{len(sleepers)} sleeper{'s' * (len(sleepers) > 1)} who took no part in the training, "
        f"compared with {student.judge}: the mean error (student less scorer), its mean size, and "
        "the limits between which 95 % of the errors lie. They hold for sleepers, beds and cameras "
        "like theirs."
    )
    if len(sleepers) < 2:
        text += " A single sleeper tells no limits."
    elif len(sleepers) < FEW:
        text += f" From as few as {len(sleepers)} sleepers the limits are rough."
    return html.paragraph(text, "note warning" if len(sleepers) < FEW else "")


def _reference(night: StagedNight, student: StudentFacts, reference: Reference | None) -> str:
    if reference is None:
        return ""
    one = agreement(night.stages, reference.stages)
    # on the epochs that both stage, so that what the film lacks is no difference
    both = (night.stages != UNSCORED) & (reference.stages != UNSCORED)
    found, right = (
        sleep_statistics(np.where(both, stages, UNSCORED))
        for stages in (night.stages, reference.stages)
    )
    wide, narrow = (
        pictures.bland_altman_picture(student.held_out, (found, right), narrow=narrow)
        for narrow in (False, True)
    )
    compared = [_difference(measure, found, right) for measure in MEASURES]
    return html.section(
        f"Agreement with {reference.name}",
        html.paragraph(_agreement_text(one)),
        html.table(
            ["stage", "F1", "recall", "precision", "epochs"],
            (
                [name, *(_percent(part[at]) for part in (one.f1, one.recall, one.precision)),
                 str(int(one.confusion[at].sum()))]
                for at, name in enumerate(STAGES)
            ),
        ),
        html.picture(
            pictures.confusion_picture(one),
            "Confusion matrix of the reference's and the student's stages",
            "Epochs of each stage of the reference (rows), by the student's stage.",
        ),
        html.table(
            ["measure", "student", "reference", "difference"], [row for row in compared if row]
        ),
        html.picture(
            wide,
            "Differences of sleep statistics over their mean, for sleepers held out and this night",
            "After Bland and Altman: each dot is a sleeper held out from training, with mean error "
            "(line) and 95 % limits of agreement (dashed); the diamond is this night. One night is "
            "one point: it can lie inside or outside the limits, and tells no limits of its own.",
            narrow=narrow,
        ),
    )  # fmt: skip


def _difference(
    measure: Measure, found: SleepStatistics, right: SleepStatistics
) -> list[str] | None:
    """A row of the table of differences; none for what a student cannot be wrong about."""
    if measure.name in NOT_ESTIMATED:
        return None
    one, other = (getattr(statistics, measure.name) for statistics in (found, right))
    return [
        measure.label,
        number(one, measure.unit),
        number(other, measure.unit),
        _signed(one - other),
    ]


def _agreement_text(one: Agreement) -> str:
    left = (
        f" {one.left_out} epochs to which one of the two gives no stage are left out, in the "
        "statistics below too."
        if one.left_out
        else ""
    )
    return (
        f"The student agrees with the reference on {100 * one.accuracy:.1f} % of {one.epochs} "
        f"epochs; Cohen's kappa {_score(one.kappa)}, macro-F1 {_score(one.macro_f1)}.{left} This "
        "is one night of one sleeper: it says how well this night went, not how well the next one "
        "will."
    )


def _body(night: StagedNight) -> str:
    wide, narrow = (pictures.body_picture(night, narrow=narrow) for narrow in (False, True))
    return html.section(
        "Movement and breathing",
        html.picture(
            wide,
            "Activity, breathing rate and breathing regularity over the night",
            "As the camera sees them, a value for each 30 s. Triangles: position changes. Pale: "
            "breathing that could hardly be measured.",
            narrow=narrow,
        ),
    )


def _distance(night: StagedNight, training: TrainingNights | None) -> str:
    title = "How this night compares with the training nights"
    if training is None:
        return html.section(
            title,
            html.paragraph(
                "The run does not say what its training nights were like, so nothing can be said "
                "about how far this one is from them.",
                "note warning",
            ),
        )
    found = distance_from_training(night.features, night.feature_names, training)
    rows = [
        [
            name.replace("_", " "),
            f"{value:.3g}",
            f"{training.mean[training.names.index(name)]:.3g}",
            f"{training.sd[training.names.index(name)]:.2g}",
            f"{z:+.1f}",
        ]
        for name, value, z in zip(found.names, found.values, found.z, strict=True)
    ]
    rows += [[name.replace("_", " "), "–", "", "", ""] for name in found.missing]
    return html.section(
        title,
        html.paragraph(
            f"Means over the night, beside those of {training.nights} training nights. All "
            f"features together lie {number(found.mahalanobis)} standard deviations away "
            f"(Mahalanobis distance per feature). From {NEAR:g} on a night is unusual, from "
            f"{FAR:g} on far away."
        ),
        html.table(["feature", "this night", "training mean", "sd", "z"], rows),
    )


def _student(student: StudentFacts) -> str:
    rows = [
        [one.name, str(one.epochs), _percent(one.accuracy), _score(one.macro_f1), _score(one.kappa)]
        for one in student.held_out
    ]
    parts = [
        html.table(["", ""], [[key, value] for key, value in student.trained.items()], texts=2)
    ]
    if rows:
        means = [
            float(np.nanmean([getattr(one, name) for one in student.held_out]))
            for name in ("accuracy", "macro_f1", "kappa")
        ]
        total = str(sum(one.epochs for one in student.held_out))
        rows.append(["mean", total, _percent(means[0]), _score(means[1]), _score(means[2])])
        parts += [
            html.paragraph("On the sleepers who took no part in the training:"),
            html.table(["sleeper", "epochs", "accuracy", "macro-F1", "kappa"], rows),
        ]
    return html.section("The student", *parts)


def _marks(night: StagedNight) -> str:
    counts = Counter(mark for marks in night.marks for mark in marks)
    if not counts:
        text = "No epoch of the film is marked: no gap, no damage, no change of light or camera."
        return html.section("What was wrong with the film", html.paragraph(text))
    rows = [[mark.replace("_", " "), str(counts[mark])] for mark in Mark if mark in counts]
    return html.section("What was wrong with the film", html.table(["mark", "epochs"], rows))


def _signed(value: float) -> str:
    return f"{value:+.1f}" if math.isfinite(value) else "–"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"


def _score(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"
