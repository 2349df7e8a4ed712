"""What each loss costs: time and peak memory, forward and backward, at several batch sizes.

Losses are timed in turn, round after round, so that a busy machine slows all of them equally; the
result to compare is the ratio to `infonce`, one matrix of similarities in two directions. Writes
results/losses.json and docs/images/losses.png. Nothing is timed if the losses' tests fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler prints to stderr

import torch
import tyro
from torch import Tensor

import xdistill as xd
from xdistill.report import environment, read_json, write_json

HERE = Path(__file__).parent
ROOT = HERE.parent
YARDSTICK = "infonce"
DIM, CLASSES, SAMPLES = 128, 10, 50_000
STUDENT_HIDDEN = {"early": (32, 8, 8, 8), "late": (64, 4, 4, 4)}  # [C, T, H, W] of a video
CLASS_MAPS = ("catkd", "sdd")  # of the channels they read the first stand for the classes
TEACHER_HIDDEN = {"early": (32, 64), "late": (64, 32)}  # [C, T] of a signal


@dataclass(frozen=True)
class Options:
    """What to measure."""

    losses: tuple[str, ...] = ()
    """Names of losses; all when empty."""
    add: bool = False
    """Add --losses to the file that is there: their times as multiples of infonce, measured now,
    times the file's own time of infonce."""
    batch_sizes: tuple[int, ...] = (64, 256, 1024)
    """Rows per step."""
    repeats: int = 7
    """Rounds; the median counts."""
    patience_s: float = 20.0
    """A loss that has taken this long at a batch size is left out of further rounds."""
    threads: int = 2
    """CPU threads."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """Where to run."""
    out: Path = HERE / "results" / "losses.json"
    """Where the JSON goes."""
    figure: Path = ROOT / "docs" / "images" / "losses.png"
    """Where the figure goes."""


@dataclass(frozen=True)
class Batch:
    """Random rows that all losses share."""

    student: xd.Outputs
    teacher: xd.Outputs
    target: Tensor
    index: Tensor

    def forget(self, loss: xd.Loss) -> None:
        """Drop the gradients of the last step."""
        for tensor in _tensors(self.student):
            tensor.grad = None
        loss.zero_grad()

    def step(self, loss: xd.Loss) -> None:
        """Forward and backward."""
        target = self.target
        if loss.reads == ("values",):
            target = torch.nn.functional.one_hot(target, CLASSES).float()
        student, teacher = self.student, self.teacher
        if loss.name in CLASS_MAPS:
            student, teacher = _as_scores(student), _as_scores(teacher)
        loss(student, teacher, target, index=self.index).backward()


def make_batch(rows: int, device: str) -> Batch:
    """Embeddings, logits, hidden maps, classes and positions in the dataset."""
    generator = torch.Generator().manual_seed(0)

    def outputs(shapes: dict[str, tuple[int, ...]], trains: bool) -> xd.Outputs:
        def normal(*shape: int) -> Tensor:
            tensor = torch.randn(rows, *shape, generator=generator).to(device)
            return tensor.requires_grad_(trains)

        hidden = {layer: normal(*shape) for layer, shape in shapes.items()}
        return xd.Outputs(normal(DIM), normal(CLASSES), hidden)

    student, teacher = outputs(STUDENT_HIDDEN, True), outputs(TEACHER_HIDDEN, False)
    target = torch.randint(CLASSES, (rows,), generator=generator).to(device)
    index = torch.randperm(SAMPLES, generator=generator)[:rows].to(device)
    return Batch(student, teacher, target, index)


def make_loss(name: str, batch: Batch) -> xd.Loss:
    """The loss with its defaults, bound and warmed up."""
    torch.manual_seed(0)
    loss = xd.create_loss(name).bind(batch.student, batch.teacher, CLASSES, SAMPLES)
    loss.to(batch.target.device)
    batch.step(loss)  # fills memories and warms up the allocator
    return loss


def milliseconds(loss: xd.Loss, batch: Batch) -> float:
    """Wall time of one step."""
    batch.forget(loss)
    _wait(batch.target)
    begin = time.perf_counter()
    batch.step(loss)
    _wait(batch.target)
    return 1e3 * (time.perf_counter() - begin)


def peak_megabytes(loss: xd.Loss, batch: Batch) -> float:
    """The most memory that a step allocates, gradients included."""
    batch.forget(loss)
    if batch.target.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        batch.step(loss)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        batch.step(loss)
    # The profiler sums memory by operator; the peak follows from the allocator's events.
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    held = peak = 0
    for event in sorted(
        (one for one in events if one.name() == "[memory]"), key=lambda one: one.start_ns()
    ):
        held += event.nbytes()  # type: ignore[attr-defined]
        peak = max(peak, held)
    return peak / 2**20


def measure(names: Sequence[str], rows: int, options: Options) -> dict[str, dict[str, float]]:
    """Time and memory of every loss at one batch size."""
    batch = make_batch(rows, options.device)
    losses = {name: make_loss(name, batch) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name, loss in losses.items():
            if sum(times[name]) < 1e3 * options.patience_s:
                times[name].append(milliseconds(loss, batch))
    yardstick = median(times[YARDSTICK])
    return {
        name: {
            "milliseconds": round(median(times[name]), 3),
            "times_infonce": round(median(times[name]) / yardstick, 3),
            "peak_megabytes": round(peak_megabytes(loss, batch), 3),
        }
        for name, loss in losses.items()
    }


def require_green_tests(names: Sequence[str]) -> None:
    """Refuse to time losses that do not pass their contract.

    Raises:
        SystemExit: a test fails.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/losses/test_contract.py"]
    command += ["-k", " or ".join(f"[{name}" for name in names)] if len(names) < 10 else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}\nthe losses' tests fail; nothing is timed")


def draw(results: dict[str, Any], path: Path) -> None:
    """Two rows of dots: milliseconds and megabytes of every loss, a colour for each batch size."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    sizes = list(results["costs"])
    largest = results["costs"][sizes[-1]]
    names = sorted(largest, key=lambda name: largest[name]["milliseconds"])
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 0.22 * len(names) + 1.5), sharey=True)
    titles = {"milliseconds": "time of a step, ms", "peak_megabytes": "peak memory, MB"}
    for panel, (key, title) in zip(panels, titles.items(), strict=True):
        for size in sizes:
            values = [max(results["costs"][size][name][key], 1e-3) for name in names]
            panel.scatter(values, range(len(names)), s=18, label=f"B = {size}")
        panel.set_xscale("log")
        panel.set_xlabel(f"{title}, forward and backward")
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(-0.7, len(names) - 0.3)
    panels[1].legend(loc="lower right")
    figure.suptitle(f"D = {DIM}, {results['device']}, {results['config']['threads']} threads")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(options: Options) -> None:
    """Test, measure, print, write, draw."""
    torch.set_num_threads(options.threads)
    names = list(dict.fromkeys([YARDSTICK, *(options.losses or xd.list_losses())]))
    require_green_tests(names)
    paths = {"out": options.out.name, "figure": options.figure.name}
    results = {
        "benchmark": "losses",
        **environment(),
        "device": options.device,
        "config": {**asdict(options), **paths, "dim": DIM, "classes": CLASSES, "samples": SAMPLES},
        "costs": {str(rows): measure(names, rows, options) for rows in options.batch_sizes},
    }
    for rows, costs in results["costs"].items():
        print(f"\nB = {rows}{'ms':>20}{'× infonce':>12}{'peak MB':>12}")
        for name, one in sorted(costs.items(), key=lambda item: item[1]["milliseconds"]):
            figures = (one["milliseconds"], one["times_infonce"], one["peak_megabytes"])
            print(f"{name:<16}" + "".join(f"{figure:12.2f}" for figure in figures))
    if options.add:
        results = added(results, options)
    write_json(options.out, results)
    draw(results, options.figure)


def added(measured: dict[str, Any], options: Options) -> dict[str, Any]:
    """The results of the file with the losses just measured, brought to its machine's speed.

    Raises:
        SystemExit: the file has other batch sizes.
    """
    kept = read_json(options.out, checked=False)
    if kept["costs"].keys() != measured["costs"].keys():
        raise SystemExit(
            f"{options.out} has batch sizes {list(kept['costs'])}, measured were "
            f"{list(measured['costs'])}; give the same ones to add to it"
        )
    for rows, costs in measured["costs"].items():
        yardstick = kept["costs"][rows][YARDSTICK]["milliseconds"]
        for name in options.losses:
            ratio = costs[name]["times_infonce"]
            own = {**costs[name], "milliseconds": round(ratio * yardstick, 3)}
            kept["costs"][rows][name] = own
    environments = {**kept.get("added", {}), **dict.fromkeys(options.losses, environment())}
    return {**kept, "added": environments}


def _tensors(outputs: xd.Outputs) -> list[Tensor]:
    logits = [] if outputs.logits is None else [outputs.logits]
    return [outputs.embedding, *logits, *outputs.hidden.values()]


def _as_scores(outputs: xd.Outputs) -> xd.Outputs:
    scores = {layer: maps[:, :CLASSES] for layer, maps in outputs.hidden.items()}
    return xd.Outputs(outputs.embedding, outputs.logits, scores)


def _wait(like: Tensor) -> None:
    if like.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(tyro.cli(Options))
