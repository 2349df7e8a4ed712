"""A sleep stager as one file: network, context over the night, preprocessing and scores."""

from __future__ import annotations

import base64
import io
import json
import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xdistill import deploy
from xdistill.export import CONFIG
from xdistill.extras import import_extra
from xdistill.sleep.context.head import ContextHead
from xdistill.sleep.model import FOLDS, NIGHT, NightModel, load_night_model
from xdistill.sleep.stage.facts import trained_text
from xdistill.sleep.stage.onnx_format import FORMAT, NightEntries
from xdistill.sleep.video_options import VideoOptions
from xdistill.storage.json_file import read_json

ENDINGS: dict[deploy.Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
CHECKED_EPOCHS = (1, 2, 37)


def is_night_run(run: Path) -> bool:
    """Whether a folder holds a run of `xdistill train`, or its folds."""
    if (run / FOLDS).is_file():
        return True
    return (run / CONFIG).is_file() and NIGHT in read_json(run / CONFIG)


def export_night_model(
    run: Path,
    path: Path | None = None,
    format: deploy.Format = "onnx",
    *,
    student: str | None = None,
    seed: int = 0,
) -> Path:
    """Write a student of a run as one file, which `xdistill stage --model` takes where it is ONNX.

    The network is written and checked by `xdistill.export`; `NightEntries` says what is beside it.

    Args:
        run: of `xdistill train`.
        path: the file; None is student.onnx or student.pt2 in the run.
        format: "onnx" or "torch-export".
        student: method; None is the one that validation preferred.
        seed: which of the method's.

    Raises:
        FileNotFoundError: there is no such run.
        ImportError: the libraries of the extra `export` are missing, for ONNX.
        ValueError: there is no such student, or the program computes something else than it.
    """
    model = load_night_model(run, student, seed)
    head = model.head
    network = None
    if head is not None:
        network = _head_as_onnx(head) if format == "onnx" else _head_weights(head)
    hmm = model.context.hmm
    entries = NightEntries(
        FORMAT,
        str(run),
        model.method,
        model.seed,
        list(model.modalities),
        asdict(model.preprocessing),
        {
            "kind": model.context.kind,
            "causal": model.context.causal,
            "hmm": None if hmm is None else hmm._asdict(),
            "options": dict(model.context.options),
        },
        None if network is None else base64.b64encode(network).decode(),
        _as_json(model.held_out),
        _as_json(model.training_signals),
        trained_text(run, model),
    )
    path = path or run / f"student{ENDINGS[format]}"
    return deploy.export(
        model.encoder,
        path,
        format,
        input_shape=input_shape(model),
        classes=model.classes,
        metadata=entries._asdict(),
    )


def input_shape(model: NightModel) -> tuple[int, ...]:
    """Shape of one epoch as the encoder takes it."""
    options: VideoOptions = model.preprocessing
    clip = (1, options.frames, options.size, options.size)
    body = (len(options.body_channels), options.body_samples)
    if model.modalities == ("video",):
        return clip
    if model.modalities == ("body",):
        return body
    return (1, math.prod(clip) + math.prod(body))


def _as_json(content: Any) -> Any:
    """Without NaN, which is no JSON."""
    text = json.dumps(content, default=str)
    return json.loads(text, parse_constant=lambda name: None)


def _head_weights(head: ContextHead) -> bytes:
    from safetensors.torch import save

    return save({name: one.contiguous() for name, one in head.state_dict().items()})


class _OneNight(nn.Module):
    """The head on one night that ends with an epoch that was seen: nothing is to be packed."""

    def __init__(self, head: ContextHead):
        super().__init__()
        self.head = head

    def forward(self, rows: Tensor, valid: Tensor) -> Tensor:
        head = self.head
        seen = valid[..., None].to(rows.dtype)
        x = head.narrow((rows[..., : head.dim] - head.mean) / head.sd).relu()
        own = rows[..., head.dim :].log_softmax(dim=2) * seen
        y = head.gru(torch.cat([x * seen, own, seen], dim=2))[0]
        return (own + head.add(y)).log_softmax(dim=2)


def _head_as_onnx(head: ContextHead) -> bytes:
    """The head as an ONNX model of its own, checked against PyTorch.

    Raises:
        ImportError: a library of the extra `export` is missing.
        ValueError: it computes something else.
    """
    for library in ("onnx", "onnxscript"):
        import_extra(library, "export", deploy.WHAT)
    runtime = import_extra("onnxruntime", "export", deploy.WHAT)
    head = head.cpu().eval()
    file: Any = io.BytesIO()  # which the older exporter takes
    with warnings.catch_warnings():
        # torch.export fixes the length of a GRU's sequence, so the older exporter is the one here
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _OneNight(head).eval(),
            _random_night(head, 5),
            file,
            dynamo=False,
            input_names=["rows", "valid"],
            output_names=["log_probabilities"],
            dynamic_axes={name: {1: "epochs"} for name in ("rows", "valid", "log_probabilities")},
        )
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for epochs in CHECKED_EPOCHS:
        rows, valid = _random_night(head, epochs)
        with torch.no_grad():
            right = head(rows, valid).exp()
        found = session.run(None, {"rows": rows.numpy(), "valid": valid.numpy()})[0]
        error = float((torch.as_tensor(found).exp() - right).abs().max())
        if not error <= deploy.TOLERANCE:
            raise ValueError(
                f"the ONNX program of the context returns other probabilities than PyTorch for "
                f"{epochs} epochs (largest difference {error:.3g}); nothing was written. Export "
                "to torch-export, or train with another context"
            )
    return file.getvalue()


def _random_night(head: ContextHead, epochs: int) -> tuple[Tensor, Tensor]:
    """Rows and which are valid, the last one always, as a night is given to the program."""
    generator = torch.Generator().manual_seed(epochs)
    rows = torch.randn(1, epochs, head.dim + head.classes, generator=generator)
    valid = torch.rand(1, epochs, generator=generator) < 0.8
    valid[:, -1] = True
    return rows * valid[..., None], valid
