"""A run with sleep stagers of every context, and a film in its true format."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.sleep_stages import STAGES
from xdistill.encoders.checkpoint import save_weights
from xdistill.export import RUN_WEIGHTS, STUDENTS, save_student
from xdistill.sleep.body.features import BODY_FEATURES
from xdistill.sleep.context.head import ContextHead
from xdistill.sleep.context.hmm import Hmm
from xdistill.sleep.model import Context, NightFacts, save_night_model
from xdistill.sleep.report.held_out import HeldOutSleeper
from xdistill.sleep.report.statistics import sleep_statistics
from xdistill.sleep.video_options import VideoOptions

VIDEO = VideoOptions(frames=6, size=16, body_rate_hz=5, body_size=16, grid=2)
START = datetime(2026, 3, 4, 22, 51, 12)
EPOCHS = 5
RATE_HZ = 5


def encoder_of(modality: str):
    """Name and options of a small untrained student."""
    if modality == "video":
        return "video_breathing", {"num_classes": 5, "in_channels": 1}
    channels, samples = len(VIDEO.body_channels), VIDEO.body_samples
    if modality == "body":
        return "body_small", {"num_classes": 5, "in_channels": channels}
    sizes = {"frames": VIDEO.frames, "size": VIDEO.size}
    return "video_body", {
        "num_classes": 5, **sizes, "body_channels": channels, "body_samples": samples,
    }  # fmt: skip


def random_rows(modality: str, rows: int) -> torch.Tensor:
    """Inputs of about the size of a film's."""
    clips = torch.rand(rows, 1, VIDEO.frames, VIDEO.size, VIDEO.size)
    bodies = 100 * torch.randn(rows, len(VIDEO.body_channels), VIDEO.body_samples)
    joined = torch.cat([clips.flatten(1), bodies.flatten(1)], dim=1)[:, None]
    return {"video": clips, "body": bodies, "video_body": joined}[modality]


def hmm() -> Hmm:
    moves = np.full((5, 5), 0.05) + 0.75 * np.eye(5)
    return Hmm((0.6, 0.1, 0.1, 0.1, 0.1), tuple(map(tuple, moves.tolist())), (0.2,) * 5, 0.5)


def make_run(folder: Path, modality: str = "body") -> Path:
    """A run with the students none, hmm, head, causal; head is the one that validation preferred.

    All have the same encoder, whose context is another one.
    """
    torch.manual_seed(3)
    name, options = encoder_of(modality)
    encoder = xd.create_encoder(name, **options).eval()
    with torch.no_grad():  # so that its answers differ from epoch to epoch
        encoder.train()
        for _ in range(30):
            encoder(random_rows(modality, 8))
        encoder.eval()
        scale = encoder(random_rows(modality, 32)).logits.std(dim=0).mean()
        encoder.head.classifier.weight *= 1.5 / scale
    heads = {}
    for method, causal in (("head", False), ("causal", True)):
        head = ContextHead(encoder.dim, 5, width=6, causal=causal)
        torch.nn.init.normal_(head.add.weight, std=0.5)
        heads[method] = head.eval()
    contexts = {
        "none": Context("none"),
        "hmm": Context("hmm", False, hmm()),
        "head": Context("head", False, hmm(), "head/context.safetensors", heads["head"].options),
        "causal": Context(
            "head", True, hmm(), "causal/context.safetensors", heads["causal"].options
        ),
    }
    for method in contexts:
        (folder / method).mkdir(parents=True)
        save_weights(encoder, folder / method / RUN_WEIGHTS)
    config = {
        "benchmark": "nights",
        "teacher": "eeg",
        "kept": {"method": "head", "seed": 0},
        STUDENTS: {method: [method] for method in contexts},
    }
    save_student(folder, encoder, name=name, options=options, classes=STAGES, config=config)
    rng = np.random.default_rng(0)
    sleepers = [
        HeldOutSleeper(
            f"sleeper{at}", 100, 0.7, 0.6, 0.55 if at else float("nan"),
            sleep_statistics(rng.integers(0, 5, 100))._asdict(),
            sleep_statistics(rng.integers(0, 5, 100))._asdict(),
        )._asdict()
        for at in range(3)
    ]  # fmt: skip
    four = {one["name"]: {"accuracy": 0.8, "macro_f1": 0.7, "kappa": 0.65} for one in sleepers}
    held_out = {"judge": "scored", "sleepers": sleepers, "four": four}
    signals = {
        "names": list(BODY_FEATURES), "mean": [5.0, 0.1, 15.0, 0.8, 50.0, 0.5],
        "sd": [2.0, 0.1, 2.0, 0.1, 20.0, 0.2], "correlation": np.eye(6).tolist(), "nights": 14,
    }  # fmt: skip
    students = {
        method: [{"context": context, "held_out": held_out}] for method, context in contexts.items()
    }
    save_night_model(
        folder,
        NightFacts(modality, VIDEO, signals, students),
        {contexts[method].head: head for method, head in heads.items()},
    )
    return folder


def frames(seconds: float = EPOCHS * 30, rate_hz: float = RATE_HZ):
    """Pairs of time and grey frame: a sleeper who breathes, and turns in the third epoch."""
    rng = np.random.default_rng(1)
    row, column = np.mgrid[:48, :64]
    for at in range(round(seconds * rate_hz)):
        time = at / rate_hz
        turned = 14 if time > 70 else 0
        shift = 1.5 * np.sin(2 * np.pi * 0.25 * time)
        chest = np.exp(-((row - 24 - shift) ** 2 + (column - 25 - turned) ** 2) / 90)
        frame = 60 + 120 * chest + rng.normal(0, 2, chest.shape)
        yield time, frame.clip(0, 255).astype(np.uint8)


def write_film(path: Path, pairs=None, rate_hz: float = RATE_HZ, start: bool = True) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as film:
        if start:
            film.metadata["creation_time"] = START.isoformat()
        track = film.add_stream("mpeg4", rate=Fraction(rate_hz).limit_denominator(100))
        track.width, track.height, track.pix_fmt, track.bit_rate = 64, 48, "yuv420p", 400_000
        for _, frame in frames() if pairs is None else pairs:
            film.mux(track.encode(av.VideoFrame.from_ndarray(frame, "gray")))
        film.mux(track.encode())
    return path
