"""The figures of runs and of the suite. The only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xdistill.extras import needs_extra

with needs_extra("train", "xdistill.plotting"):
    import matplotlib

    matplotlib.use("Agg")

    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

from xdistill.data.sleep_stages import REM, STAGES, SYNONYMS, stage_of
from xdistill.metrics import Scores

HYPNOGRAM_ORDER = ("W", "REM", "N1", "N2", "N3")
"""The usual order of a hypnogram from top to bottom, with REM sleep next to wakefulness."""


def confusion_matrices(path: Path, scores: Mapping[str, Scores], classes: Sequence[str]) -> None:
    """One confusion matrix per method, each row in per cent of the true class."""
    figure, axes = plt.subplots(
        1, len(scores), figsize=(3.2 * len(scores), 3.4), squeeze=False, layout="constrained"
    )
    for axis, (name, one) in zip(axes[0], scores.items(), strict=True):
        counts = np.array(one.confusion, dtype=float)
        share = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(share):
            colour = "white" if value > 55 else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, size=8)
        axis.set_xticks(range(len(classes)), classes, rotation=45 if len(classes) > 5 else 0)
        axis.set_yticks(range(len(classes)), classes)
        axis.set_xlabel("predicted")
        axis.set_title(f"{name} ({100 * one.accuracy:.1f} %)", size=10)
    axes[0, 0].set_ylabel("true, rows in %")
    _save(figure, path)


def learning_curves(path: Path, histories: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Training loss and validation macro-F1 over the epochs, a line per method."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, history in histories.items():
        epochs = [row["epoch"] + 1 for row in history]
        left.plot(epochs, [row["train/loss"] for row in history], label=name)
        right.plot(epochs, [100 * row["val/macro_f1"] for row in history], label=name)
    left.set(xlabel="epoch", ylabel="training loss (own terms of each method)", yscale="log")
    right.set(xlabel="epoch", ylabel="validation macro-F1 (%)")
    right.legend(fontsize=8)
    _save(figure, path)


def hypnogram(
    path: Path,
    start_h: Sequence[float],
    true: Sequence[int],
    predicted: Mapping[str, Sequence[int]],
    classes: Sequence[str],
    title: str,
) -> None:
    """The scored stages of one night and the predicted ones of each method, one below the other.

    Args:
        path: PNG file to write.
        start_h: hours from lights out, one per epoch, ascending.
        true: class index per epoch.
        predicted: class indices per method.
        classes: names of the classes, each a sleep stage as `xdistill.data.sleep_stages` knows it.
        title: of the figure.

    Raises:
        ValueError: a class that is no sleep stage.
    """
    stages = _stages_of(classes)
    order = [name for name in HYPNOGRAM_ORDER if STAGES.index(name) in stages]
    level = np.array([order.index(STAGES[stage]) for stage in stages])
    courses = {"expert": true, **predicted}
    figure, axes = plt.subplots(
        len(courses), 1, figsize=(9, 1.5 * len(courses)), sharex=True, layout="constrained"
    )
    for axis, (name, course) in zip(np.atleast_1d(axes), courses.items(), strict=True):
        steps = level[np.asarray(course)]
        axis.step(start_h, steps, where="post", color="black", linewidth=0.9)
        if REM in stages:
            rem = np.where(steps == order.index(STAGES[REM]), steps, np.nan)
            axis.step(start_h, rem, where="post", color="crimson", linewidth=3)
        wrong = steps != level[np.asarray(true)]
        axis.plot(np.asarray(start_h)[wrong], steps[wrong], ".", color="tab:orange", markersize=3)
        axis.set_yticks(range(len(order)), order)
        axis.invert_yaxis()
        agreement = "" if name == "expert" else f"\n{100 * (1 - wrong.mean()):.0f} % right"
        axis.set_ylabel(name + agreement, size=8)
    np.atleast_1d(axes)[0].set_title(title, size=10)
    np.atleast_1d(axes)[-1].set_xlabel("hours from lights out (orange: differs from the expert)")
    _save(figure, path)


def _stages_of(classes: Sequence[str]) -> list[int]:
    """Position of each class in `STAGES`."""
    stages: list[int] = []
    for name in classes:
        try:
            stage = stage_of(name)
        except ValueError:
            stage = None
        if stage is None:
            raise ValueError(
                f"a hypnogram shows sleep stages, got the classes {', '.join(classes)}, of which "
                f"{name!r} is none; expected {', '.join(SYNONYMS)}"
            )
        stages.append(stage)
    return stages


def critical_difference(path: Path, ranks: Mapping[str, float], difference: float) -> None:
    """Average ranks on a line; bars join methods that do not differ (Demšar, JMLR 2006, fig. 1).

    Args:
        path: PNG file to write.
        ranks: average rank per method; 1 is best.
        difference: methods whose ranks are at most this far apart do not differ.
    """
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    values = [rank for _, rank in ordered]
    groups = _groups(values, difference)
    half = (len(ordered) + 1) // 2
    height = 0.6 + 0.16 * len(groups) + 0.26 * half
    figure, axis = plt.subplots(figsize=(8, height + 0.4), layout="constrained")
    low, high = 1, len(ordered)
    axis.set(xlim=(low - 0.45 * high, high * 1.45), ylim=(-height, 0.55))
    axis.axis("off")
    axis.hlines(0, low, high, color="black", linewidth=1)
    for tick in range(low, high + 1):
        axis.vlines(tick, 0, 0.07, color="black", linewidth=1)
        axis.text(tick, 0.1, str(tick), ha="center", size=8)
    axis.hlines(0.42, low, low + difference, color="black", linewidth=1.5)
    axis.text(
        low + difference + 0.1, 0.42, f"critical difference {difference:.1f}", va="center", size=8
    )
    for level, (first, last) in enumerate(groups):
        y = -0.14 - 0.16 * level
        axis.hlines(y, values[first] - 0.05, values[last] + 0.05, color="tab:blue", linewidth=3)
    start = -0.3 - 0.16 * len(groups)
    for at, (name, rank) in enumerate(ordered):
        left = at < half
        y = start - 0.26 * (at if left else len(ordered) - 1 - at)
        edge = low - 0.2 if left else high + 0.2
        axis.plot([rank, rank, edge], [0, y, y], color="grey", linewidth=0.8)
        where = "right" if left else "left"
        text = f"{name} {rank:.1f}"
        axis.text(edge + (-0.08 if left else 0.08), y, text, va="center", ha=where, size=8)
    _save(figure, path)


def _groups(values: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last position of each longest run of values that span at most the difference."""
    groups: list[tuple[int, int]] = []
    for first, value in enumerate(values):
        last = max(at for at, other in enumerate(values) if other - value <= difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def share_curves(path: Path, curves: Mapping[str, Mapping[str, Mapping[str, Mapping]]]) -> None:
    """Macro-F1 of each method with fewer labels and with fewer teachers, a panel for each set.

    Args:
        path: PNG file to write.
        curves: for each set "labels", "missing" or both; in each, for each method and share, a
            mean and a half_width.
    """
    labels = {"labels": "share of the labels (log)", "missing": "share of rows without teacher"}
    panels = [(name, kind) for name, kinds in curves.items() for kind in labels if kinds.get(kind)]
    columns = 2 if any(kind == "missing" for _, kind in panels) else 3
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.5 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for axis, (name, kind) in zip(axes.flat, panels, strict=False):
        for method, points in curves[name][kind].items():
            shares = sorted(map(float, points))
            means = np.array([100 * points[f"{share:g}"]["mean"] for share in shares])
            half = np.array([100 * (points[f"{s:g}"]["half_width"] or 0) for s in shares])
            style = {"color": "black", "linewidth": 2} if method == "student" else {}
            if kind == "missing" and len(shares) == 1:  # the student alone has no teacher
                axis.axhline(means[0], linestyle="--", label=method, **style)
                continue
            axis.plot(shares, means, marker="o", markersize=3, label=method, **style)
            axis.fill_between(shares, means - half, means + half, alpha=0.08)
        axis.set(xlabel=labels[kind], ylabel="macro-F1 (%)", title=name)
        if kind == "labels":
            axis.set_xscale("log")
            axis.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
            axis.minorticks_off()
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    if panels:
        figure.legend(
            *axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=5
        )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)
