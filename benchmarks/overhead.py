"""What xdistill itself costs: a step through `fit`, `khn`, and what the teacher cache gains.

Every figure is a ratio of two timings taken alternately in one process, so that a busy machine
changes both. Writes results/overhead.json.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
import tyro
from kernel_costs import khn as khn_benchmark

import xdistill as xd
from xdistill.data.cache import cache_teacher
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.engine.fit import fit
from xdistill.engine.module import warmup_cosine
from xdistill.report import environment, write_json

RESULTS = Path(__file__).parent / "results" / "overhead.json"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    repeats: int = 5
    """How often each pair of timings is taken; the median of the ratios counts."""
    rows: int = 512
    """Rows of the training set."""
    batch_size: int = 32
    """Rows per step."""
    threads: int = 2
    """CPU threads."""
    out: Path = RESULTS
    """Where the JSON goes."""


class EpochClock(L.Callback):
    """Seconds from the first step of an epoch to the last."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.begin = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module):
        self.seconds.append(time.perf_counter() - self.begin)


def paired_data(rows: int) -> PairedDataset:
    """Noise in the shapes of the S3VE sample."""
    generator = torch.Generator().manual_seed(0)
    return PairedDataset(
        {
            "video": torch.rand(rows, 1, 30, 48, 48, generator=generator),
            "eeg": 30 * torch.randn(rows, 1, 3000, generator=generator),
        },
        torch.randint(0, 5, (rows,), generator=generator),
        classes=("W", "N1", "N2", "N3", "REM"),
    )


def new_distiller() -> xd.Distiller:
    """The main job's modules."""
    torch.manual_seed(0)
    student = xd.create_encoder("video_small", num_classes=5, in_channels=1)
    teacher = xd.create_encoder("eeg_small", num_classes=5, in_channels=1)
    return xd.Distiller(student, teacher, xd.CrossEntropy() + xd.SACD(dim=128))


def through_fit(dataset: PairedDataset, options: Options) -> float:
    """Seconds of the second epoch through `fit`."""
    clock = EpochClock()
    fit(
        new_distiller(),
        paired_loader(dataset, options.batch_size, shuffle=True),
        max_epochs=2,
        check_data=False,
        accelerator="cpu",
        devices=1,
        callbacks=[clock],
    )
    return clock.seconds[-1]


def by_hand(dataset: PairedDataset, options: Options) -> float:
    """Seconds of the second epoch of a plain loop over the same modules."""
    distiller = new_distiller().train()
    loader = paired_loader(dataset, options.batch_size, shuffle=True)
    parameters = [p for p in distiller.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    scheduler = warmup_cosine(optimizer, 2 * len(loader))
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        for batch in loader:
            optimizer.zero_grad()
            distiller(batch).loss.backward()
            optimizer.step()
            scheduler.step()
        seconds = time.perf_counter() - begin
    return seconds


def ratio(first: Callable[[], float], second: Callable[[], float], repeats: int) -> dict[str, Any]:
    """Both timings, taken in turns, and the median of their ratios."""
    pairs = [(first(), second()) for _ in range(repeats)]
    return {
        "seconds": [[round(a, 4), round(b, 4)] for a, b in pairs],
        "median_ratio": median(a / b for a, b in pairs),
    }


def cache_gain(dataset: PairedDataset, options: Options) -> dict[str, Any]:
    """Seconds of an epoch that runs the teacher, against one with its cached outputs."""
    with tempfile.TemporaryDirectory() as root:
        teacher = next(iter(new_distiller().teachers.values()))
        begin = time.perf_counter()
        cached = cache_teacher(dataset, teacher, "eeg", root=Path(root))
        filling = time.perf_counter() - begin
        result = ratio(
            lambda: by_hand(dataset, options), lambda: by_hand(cached, options), options.repeats
        )
        teacher_only = ratio(
            lambda: _teacher_side(dataset, teacher, options),
            lambda: _teacher_side(cached, teacher, options),
            options.repeats,
        )
    return {"filling_seconds": filling, "epoch": result, "teacher_side_of_an_epoch": teacher_only}


@torch.no_grad()
def _teacher_side(dataset: PairedDataset, teacher: Any, options: Options) -> float:
    only = dataset.replace(inputs={k: v for k, v in dataset.inputs.items() if k == "eeg"})
    begin = time.perf_counter()
    for batch in paired_loader(only, options.batch_size):
        if "eeg" not in batch.cached:
            teacher.eval()(batch.inputs["eeg"])
    return time.perf_counter() - begin


def main(options: Options) -> None:
    """Measure, print, write."""
    torch.set_num_threads(options.threads)
    dataset = paired_data(options.rows)
    results = {
        "benchmark": "overhead",
        **environment(),
        "config": {**asdict(options), "out": str(options.out.name)},
        "fit_over_plain_loop": ratio(
            lambda: through_fit(dataset, options),
            lambda: by_hand(dataset, options),
            options.repeats,
        ),
        "khn": khn_benchmark.measure(),
        "teacher_cache": cache_gain(dataset, options),
    }
    for line in lines(results):
        print(line)
    write_json(options.out, results)


def lines(results: dict[str, Any]) -> Iterable[str]:
    """The figures that matter."""
    cache = results["teacher_cache"]
    yield f"step through fit / plain loop: {results['fit_over_plain_loop']['median_ratio']:.3f}"
    yield f"khn: {results['khn']}"
    yield f"epoch without cache / with cache: {cache['epoch']['median_ratio']:.3f}"
    yield f"teacher's side of it: {cache['teacher_side_of_an_epoch']['median_ratio']:.1f}"


if __name__ == "__main__":
    main(tyro.cli(Options))
