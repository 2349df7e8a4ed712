"""A student that stages sleep, with what it needs beside its weights: its night model.

A run of `xdistill train` holds several students, of every method and seed. Each can be loaded: its
encoder from the run's folder of weights, and from the entry "night" of the run's config.json how a
film becomes what it sees, its context over the night, and how it did on sleepers held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.encoders.body import joined_row
from xdistill.encoders.checkpoint import load_weights, save_weights
from xdistill.export import CONFIG, load_student
from xdistill.sleep.context.head import ContextHead, staged
from xdistill.sleep.context.hmm import Hmm, smooth
from xdistill.sleep.video_options import VideoOptions
from xdistill.storage.json_file import read_json, write_json

NIGHT = "night"
"""The entry of config.json."""
FORMAT = 1
FOLDS = "folds.json"
"""The file of a folder whose runs are the folds of a cross-validation."""
Kind = Literal["none", "hmm", "head"]
READS = {"video": ("video",), "body": ("body",), "video_body": ("video", "body")}
"""What a student of a modality reads of an epoch."""


class Context(NamedTuple):
    """What a student does with the rest of the night.

    Attributes:
        kind: nothing, the hidden Markov model, or the network.
        causal: it uses no later epoch, so that it can stage a live night.
        hmm: the hidden Markov model, in any kind where there is one.
        head: file of the network's weights, below the run's folder.
        options: of the network.
    """

    kind: Kind
    causal: bool = False
    hmm: Hmm | None = None
    head: str | None = None
    options: Mapping[str, Any] = {}


class NightFacts(NamedTuple):
    """What config.json keeps of a run beside its students.

    Attributes:
        modality: of the students.
        video: how a film becomes what they see.
        training_signals: names, mean, sd and correlation of the body's features over the training
            nights, and their number.
        students: by method a list over seeds, with "context" and "held_out" of each.
    """

    modality: str
    video: VideoOptions
    training_signals: Mapping[str, Any]
    students: Mapping[str, list[dict[str, Any]]]


class NightModel:
    """A student of one epoch, and its context over the night.

    Attributes:
        encoder: the student.
        modality: that the encoder takes.
        modalities: what an epoch needs: "video", "body", or both.
        classes: what the columns of probabilities are.
        preprocessing: how a film becomes clips and signals of the body.
        context: what it does with the rest of the night.
        method: with which it was trained.
        seed: with which it was trained.
        held_out: scores of the sleepers who were held out: "sleepers", one for each as in
            `xdistill.sleep.report.held_out.HeldOutSleeper`; "four", their scores with N1 and N2 as
            one; and "judge", whose stages they were compared with.
        training_signals: the body's features over the training nights, as in
            `xdistill.sleep.report.distance.TrainingNights`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        facts: NightFacts,
        classes: tuple[str, ...],
        context: Context,
        head: ContextHead | None = None,
        *,
        method: str = "student",
        seed: int = 0,
        held_out: Mapping[str, Any] | None = None,
    ):
        self.encoder = encoder.eval()
        self.modality = facts.modality
        self.modalities = READS[facts.modality]
        self.classes = classes
        self.preprocessing = facts.video
        self.context = context
        self.method, self.seed = method, seed
        self.held_out = dict(held_out or {})
        self.training_signals = dict(facts.training_signals)
        self._head = head

    @torch.no_grad()
    def embed(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "b d"]:
        """Embedding and logits of epochs, side by side: what `stage` takes.

        Args:
            batch: "video" float [B, 1, T, S, S] from 0 to 1, and "body" float [B, C, L], as
                `modalities` says; further entries are left alone.

        Raises:
            ValueError: an entry is missing, has other axes or holds NaN.
        """
        if missing := [name for name in self.modalities if name not in batch]:
            raise ValueError(
                f"the student reads {' and '.join(self.modalities)}, the batch has "
                f"{sorted(batch)}; {missing} is missing"
            )
        if self.modality == "video_body":
            pairs = zip(batch["video"], batch["body"], strict=True)
            x = torch.stack([joined_row(clip, signals) for clip, signals in pairs])
        else:
            x = batch[self.modality]
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"an epoch holds NaN in {self.modality}; leave it out, and say so in valid"
            )
        outputs = self.encoder(x.float())
        return torch.cat([outputs.embedding, outputs.logits], dim=1)

    @torch.no_grad()
    def stage(
        self, embeddings: Float[Tensor, "e d"], valid: Bool[Tensor, " e"]
    ) -> Float[Tensor, "e k"]:
        """Probabilities of the stages of a night's epochs; NaN where not valid.

        Args:
            embeddings: what `embed` says of every epoch of one night, in order; anything in an
                epoch that is not valid.
            valid: which epochs were seen.
        """
        classes = len(self.classes)
        rows = torch.where(valid[:, None], embeddings, 0.0)
        own = rows[:, -classes:].softmax(dim=1)
        if self._head is not None and self.context.kind == "head":
            found = staged(self._head, rows, valid)
        elif self.context.hmm is not None and self.context.kind == "hmm":
            found = smooth(self.context.hmm, own, valid, causal=self.context.causal)
        else:
            found = own
        return torch.where(valid[:, None], found, torch.nan)

    def __repr__(self) -> str:
        sleepers = len(self.held_out.get("sleepers", ()))
        return (
            f"NightModel(method={self.method!r}, seed={self.seed}, reads={self.modalities}, "
            f"context={self.context.kind!r}, causal={self.context.causal}, "
            f"held-out sleepers={sleepers})"
        )


def save_night_model(
    run: str | Path,
    facts: NightFacts,
    heads: Mapping[str, ContextHead] | None = None,
) -> None:
    """Add to a finished run what makes its students night models.

    Args:
        run: folder of a benchmark's run.
        facts: the entry of config.json.
        heads: context networks by the file, below the run's folder, in which they are kept.

    Raises:
        FileNotFoundError: the run has not finished.
        ValueError: its config.json is damaged, or weights are unusable.
    """
    run = Path(run)
    if not (run / CONFIG).exists():
        raise FileNotFoundError(f"{run / CONFIG} is missing; the run has not finished")
    for name, head in (heads or {}).items():
        save_weights(head, run / name)
    kept = {"format": FORMAT, **facts._asdict(), "video": asdict(facts.video)}
    kept["students"] = {
        method: [{**one, "context": _as_json(one["context"])} for one in some]
        for method, some in facts.students.items()
    }
    write_json(run / CONFIG, {**read_json(run / CONFIG), NIGHT: kept})


def load_night_model(run: str | Path, student: str | None = None, seed: int = 0) -> NightModel:
    """A student of a run of `xdistill train`.

    Args:
        run: its folder.
        student: method, "student" for the one that learned alone; None is the one, and its seed,
            that validation preferred.
        seed: which of the method's.

    Raises:
        FileNotFoundError: there is no such run, or it has not finished.
        ValueError: a file is damaged, the run is no sleep stager, or it has no such student.
    """
    run = Path(run)
    if (run / FOLDS).is_file():
        raise ValueError(
            f"{run} holds the folds of a cross-validation, each with students of its own; name one "
            f"of them, as in {run / 'fold0'}"
        )
    if not (run / CONFIG).is_file():
        raise FileNotFoundError(
            f"{run / CONFIG} is missing; name the folder of a run of `xdistill train`"
        )
    config = read_json(run / CONFIG)
    if "encoder" in config and NIGHT not in config:
        raise ValueError(
            f"the run in {run} was not made by `xdistill train`, or ended before its nights were "
            "judged; make it with that command, or go on with --resume"
        )
    if student is None:
        best = config.get("kept", {"method": "student", "seed": 0})  # without one, nobody finished
        student, seed = str(best["method"]), int(best["seed"])
    loaded = load_student(run, method=student, seed=seed)
    facts = _facts(run, config[NIGHT])
    if student not in facts.students or not 0 <= seed < len(facts.students[student]):
        known = {name: len(some) for name, some in facts.students.items()}
        raise ValueError(
            f"{run} has no night model of method {student!r} and seed {seed}; it has (method: "
            f"number of seeds) {known}"
        )
    own = facts.students[student][seed]
    context = _context(own["context"])
    head = None
    if context.head is not None:
        head = ContextHead(**context.options)
        load_weights(head, run / context.head, checked=True)
    return NightModel(
        loaded.encoder,
        facts,
        loaded.classes,
        context,
        head,
        method=student,
        seed=seed,
        held_out=own["held_out"],
    )


def _facts(run: Path, kept: Mapping[str, Any]) -> NightFacts:
    if kept.get("format") != FORMAT:
        raise ValueError(
            f"the night models in {run} have format {kept.get('format')!r}, expected {FORMAT}; "
            "train them again with this version"
        )
    return NightFacts(
        kept["modality"],
        video_options(kept["video"]),
        kept["training_signals"],
        kept["students"],
    )


def video_options(kept: Mapping[str, Any]) -> VideoOptions:
    """The options as JSON gives them back.

    Raises:
        ValueError: an option that this version does not know.
    """
    known = {field.name for field in fields(VideoOptions)}
    if unknown := sorted(set(kept) - known):
        raise ValueError(
            f"the films were prepared with the options {unknown}, which this version does not "
            "know; use the version that they were prepared with"
        )
    region = kept.get("region")
    return VideoOptions(**{**kept, "region": None if region is None else tuple(region)})


def _as_json(context: Context) -> dict[str, Any]:
    hmm = None if context.hmm is None else context.hmm._asdict()
    return {**context._asdict(), "hmm": hmm}


def _context(kept: Mapping[str, Any]) -> Context:
    hmm = kept["hmm"]
    if hmm is not None:
        moves = tuple(map(tuple, hmm["moves"]))
        hmm = Hmm(tuple(hmm["start"]), moves, tuple(hmm["prior"]), hmm["trust"])
    return Context(**{**kept, "hmm": hmm})
