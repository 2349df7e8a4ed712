"""The pictures of a report, each as PNG bytes, in a wide form and one for a phone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xdistill.data.sleep_stages import EPOCH_S, STAGES
from xdistill.extras import needs_extra
from xdistill.sleep.report.agreement import Agreement
from xdistill.sleep.report.held_out import HeldOutSleeper, differences_of, limits_of_agreement
from xdistill.sleep.report.night import StagedNight
from xdistill.sleep.report.statistics import MEASURES, SleepStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = ("W", "REM", "N1", "N2", "N3")
"""From top to bottom, as a hypnogram is drawn."""
COLOURS = {"W": "#E69F00", "REM": "#D55E00", "N1": "#56B4E9", "N2": "#0072B2", "N3": "#03304D"}
"""Of Okabe and Ito (2008), which colour-blind readers tell apart; N3 is N2's, darker."""
GREY = "#767676"
COMPARED = ("TST", "SE", "SOL", "WASO", "REM_latency", "N1", "N2", "N3", "REM")
"""The statistics of the figure of Bland and Altman."""
LOW_QUALITY = 0.3
"""Breathing of a lower quality is drawn pale."""


def hypnogram_picture(
    night: StagedNight, reference: np.ndarray | None = None, *, narrow: bool = False
) -> bytes:
    """Stages, their probabilities and the confidence over the night; the reference above them.

    Args:
        night: as it was staged.
        reference: [E] stages of a scorer, -1 where there is none.
        narrow: for a phone.
    """
    figure = _figure((4.2, 5.0) if narrow else (10, 5.6))
    courses = [("student", night.stages)]
    if reference is not None:
        courses.insert(0, ("reference", reference))
    heights = [2.2] * len(courses) + [1.6, 0.8]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for axis, (name, stages) in zip(axes, courses, strict=False):
        _draw_stages(axis, night.hours, stages)
        axis.set_ylabel(name if len(courses) > 1 else "stage")
        _shade_missing(axis, night.hours, stages)
    _draw_probabilities(axes[-2], night)
    _draw_confidence(axes[-1], night)
    for axis in axes[-2:]:
        _shade_missing(axis, night.hours, night.stages)
    _time_axis(axes[-1], night)
    return _png(figure)


def body_picture(night: StagedNight, *, narrow: bool = False) -> bytes:
    """Activity, breathing rate and its regularity over the night."""
    figure = _figure((4.2, 4.4) if narrow else (10, 4.4))
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(1.3, 1.6, 1))
    middle = night.hours + EPOCH_S / 7200
    axes[0].fill_between(middle, night.feature("activity"), step="mid", color=COLOURS["N2"], lw=0)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("activity")
    moved = np.flatnonzero(np.nan_to_num(night.feature("position_changes")) > 0)
    if len(moved):
        look = {"color": COLOURS["REM"], "ms": 5, "clip_on": False, "label": "position change"}
        axes[0].plot(middle[moved], np.zeros(len(moved)), "^", **look)
        axes[0].legend(loc="upper right", fontsize=7, frameon=False)
    quality = np.nan_to_num(night.feature("breathing_quality"))
    for axis, name, label in (
        (axes[1], "breathing_rate", "breaths\nper minute"),
        (axes[2], "breathing_regularity", "breathing\nregularity"),
    ):
        values = night.feature(name)
        for kept, alpha in ((quality >= LOW_QUALITY, 1.0), (quality < LOW_QUALITY, 0.25)):
            shown = np.where(kept, values, np.nan)
            axis.plot(middle, shown, ".", color=COLOURS["N2"], ms=2.5, alpha=alpha)
        axis.set_ylabel(label)
    for axis in axes:
        _shade_missing(axis, night.hours, night.stages)
    _time_axis(axes[-1], night)
    return _png(figure)


def confusion_picture(agreement: Agreement) -> bytes:
    """Epochs of the reference by those of the student, in numbers and per cent of a row."""
    figure = _figure((4.2, 3.9))
    axis = figure.subplots()
    counts = agreement.confusion
    share = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        colour = "white" if value > 55 else "black"
        text = f"{counts[row, column]}\n{value:.0f} %" if counts[row].any() else "–"
        axis.text(column, row, text, ha="center", va="center", color=colour, size=8)
    axis.set_xticks(range(len(STAGES)), STAGES)
    axis.set_yticks(range(len(STAGES)), STAGES)
    axis.set(xlabel="student", ylabel="reference")
    return _png(figure)


def bland_altman_picture(
    sleepers: Sequence[HeldOutSleeper],
    night: tuple[SleepStatistics, SleepStatistics] | None = None,
    *,
    narrow: bool = False,
) -> bytes:
    """Student less scorer over the mean of both, a point for each sleeper held out.

    Args:
        sleepers: held out from training.
        night: statistics of this night from the student and from its reference: a diamond.
        narrow: for a phone.
    """
    columns = 2 if narrow else 3
    rows = -(-len(COMPARED) // columns)
    figure = _figure((4.2, 1.7 * rows) if narrow else (10, 2.2 * rows))
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    labels = {one.name: f"{one.label} ({one.unit})" for one in MEASURES}
    for axis, name in zip(axes, COMPARED, strict=False):
        mean, apart = differences_of(sleepers, name)
        limits = limits_of_agreement(sleepers, name)
        axis.axhline(0, color=GREY, lw=0.6)
        axis.plot(mean, apart, "o", color=COLOURS["N2"], ms=4, alpha=0.7)
        for value, style in ((limits.bias, "-"), (limits.low, "--"), (limits.high, "--")):
            if np.isfinite(value):
                axis.axhline(value, color=COLOURS["N2"], lw=1, ls=style)
        if night is not None:
            found, right = (getattr(one, name) for one in night)
            axis.plot((found + right) / 2, found - right, "D", color=COLOURS["REM"], ms=6)
        axis.set_title(labels[name], size=8)
        axis.tick_params(labelsize=7)
    for axis in axes[len(COMPARED) :]:
        axis.axis("off")
    figure.supxlabel("mean of student and scorer", size=8)
    figure.supylabel("student − scorer", size=8)
    return _png(figure)


def _figure(size: tuple[float, float]) -> Figure:
    with needs_extra("sleep", "the pictures of a report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    for axis in figure.axes:
        axis.tick_params(labelsize=8)
        for label in (axis.xaxis.label, axis.yaxis.label):
            label.set_fontsize(8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160)
    return file.getvalue()


def _draw_stages(axis: Axes, hours: np.ndarray, stages: np.ndarray) -> None:
    level = np.array([LEVELS.index(name) for name in STAGES] + [np.nan], dtype=float)
    steps = level[stages]  # -1 is the last
    edges = np.append(hours, hours[-1] + EPOCH_S / 3600)
    axis.stairs(steps, edges, baseline=None, color="black", lw=0.9)
    for name in LEVELS:
        own = np.where(steps == LEVELS.index(name), steps, np.nan)
        axis.hlines(own, edges[:-1], edges[1:], color=COLOURS[name], lw=4)
    axis.set_yticks(range(len(LEVELS)), LEVELS)
    axis.set_ylim(len(LEVELS) - 0.6, -0.4)


def _draw_probabilities(axis: Axes, night: StagedNight) -> None:
    order = [STAGES.index(name) for name in reversed(LEVELS)]
    top = np.zeros(len(night.marks))
    edges = np.append(night.hours, night.hours[-1] + EPOCH_S / 3600)
    for stage in order:
        bottom, top = top, top + np.nan_to_num(night.probabilities[:, stage])
        axis.stairs(top, edges, baseline=bottom, fill=True, lw=0, color=COLOURS[STAGES[stage]])
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1])
    axis.set_ylabel("probability")
    patches = _legend_patches()
    axis.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, fontsize=7,
        frameon=False, borderaxespad=0, handlelength=1, columnspacing=1,
    )  # fmt: skip


def _legend_patches() -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=COLOURS[name], label=name) for name in LEVELS]


def _draw_confidence(axis: Axes, night: StagedNight) -> None:
    edges = np.append(night.hours, night.hours[-1] + EPOCH_S / 3600)
    axis.stairs(night.confidence, edges, baseline=None, color="black", lw=0.8)
    axis.axhline(1 / len(STAGES), color=GREY, lw=0.6, ls=":")
    axis.set_ylim(0, 1.02)
    axis.set_yticks([0, 0.5, 1])
    axis.set_ylabel("confidence")


def _shade_missing(axis: Axes, hours: np.ndarray, stages: np.ndarray) -> None:
    """Hatch the epochs without a stage."""
    without = np.concatenate([[False], stages < 0, [False]])
    starts = np.flatnonzero(~without[:-1] & without[1:])
    ends = np.flatnonzero(without[:-1] & ~without[1:])
    look = {"facecolor": "#eeeeee", "edgecolor": "#999999", "hatch": "////", "lw": 0, "zorder": 0}
    for start, end in zip(starts, ends, strict=True):
        axis.axvspan(hours[start], hours[end - 1] + EPOCH_S / 3600, **look)


def _time_axis(axis: Axes, night: StagedNight) -> None:
    end_h = float(night.hours[-1]) + EPOCH_S / 3600
    axis.set_xlim(0, end_h)
    if end_h < 0.5:
        ticks = np.linspace(0, end_h, 5)
        axis.set_xticks(ticks, [f"{60 * one:.1f}" for one in ticks])
        axis.set_xlabel("minutes since the beginning")
        return
    if night.start is None:
        axis.set_xlabel("hours since the beginning")
        return
    step = 1 if end_h > 2 else 0.25
    begins_h = night.start.hour + night.start.minute / 60 + night.start.second / 3600
    ticks = np.arange(np.ceil(begins_h / step) * step, begins_h + end_h, step)
    labels = [f"{int(one) % 24:02d}:{round(60 * (one % 1)):02d}" for one in ticks]
    shown = slice(None, None, 2 if len(ticks) > 6 else 1)
    axis.set_xticks(ticks[shown] - begins_h, labels[shown])
    axis.set_xlabel("time of day")
