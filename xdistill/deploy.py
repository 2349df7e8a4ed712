"""A student as one file that runs without xdistill: ONNX, or a program of torch.export."""

from __future__ import annotations

import copy
import io
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from xdistill.export import Student, load_student
from xdistill.extras import import_extra

Format = Literal["onnx", "torch-export"]
METADATA = "xdistill.json"
"""Name of the metadata among the extra files of a torch.export archive."""
Made = tuple[bytes, Callable[[Tensor], dict[str, Tensor]]]
"""The content of a file, and what runs it."""
WHAT = "exporting to ONNX"
CHECKED_ROWS = (1, 3)
TOLERANCE = 1e-4


def export(
    student: nn.Module | Student | str | Path,
    path: str | Path,
    format: Format = "onnx",
    *,
    input_shape: Sequence[int],
    classes: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a student as one file that takes a batch of any size and needs no xdistill to run.

    The input is called `input`, the outputs `embedding` [B, D] and, where there is a classifier,
    `logits` [B, K]; hidden tensors are left out. The student is exported in eval mode, in float32
    and on the CPU, from a copy. What was exported is run with one and with three random rows and
    compared with the student, and the file is written only if all values agree within 1e-4 of the
    largest one.

    The metadata are `modality`, `classes`, `input_shape`, `dim`, `num_classes` and
    `xdistill_version`: in ONNX as entries of `metadata_props`, each in JSON; in torch-export as the
    extra file `xdistill.json`.

    Args:
        student: an encoder, what `load_student` returns, or a run folder.
        path: the file; folders are made.
        format: "onnx" or "torch-export", which `torch.export.load` reads.
        input_shape: shape of one sample, without the batch axis. All axes but the batch are fixed.
        classes: names of what the logits stand for; those of the run where it is known.
        metadata: further entries, of what JSON holds.

    Raises:
        ImportError: the libraries of the extra `export` are missing, for ONNX.
        ValueError: an unknown format, a shape that the student does not take, a student that cannot
            be exported with a batch of any size, or one that computes something else afterwards.
    """
    if format not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
    if format == "onnx":
        for library in ("onnx", "onnxscript", "onnxruntime"):
            import_extra(library, "export", WHAT)
    if isinstance(student, str | Path):
        student = load_student(student)
    if isinstance(student, Student):
        classes = student.classes if classes is None else classes
        student = student.encoder
    encoder = _plain_copy(student)
    network = _Named(encoder).eval()
    batches = [_random_batch(rows, input_shape) for rows in CHECKED_ROWS]
    with torch.no_grad():
        expected = [network(batch) for batch in batches]
    entries = _metadata(encoder, expected[0], input_shape, classes)
    if taken := sorted(set(entries) & set(metadata or {})):
        raise ValueError(f"metadata has {taken}, which are written from the student itself")
    entries |= metadata or {}
    program = _program(network, batches[-1])
    content, run = (_onnx if format == "onnx" else _torch_export)(program, entries)
    for batch, right in zip(batches, expected, strict=True):
        _require_equal(run(batch), right, format)
    return _write(Path(path), content)


class _Named(nn.Module):
    """The student with its outputs in a dictionary, which needs no class of ours to be read."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        outputs = self.encoder(input)
        named = {"embedding": outputs.embedding}
        if outputs.logits is not None:
            named["logits"] = outputs.logits
        return named


def _plain_copy(student: nn.Module) -> nn.Module:
    """A copy on the CPU in float32, without what torch.compile and DDP put around a network."""
    while True:
        inner = getattr(student, "_orig_mod", None)
        if inner is None and type(student).__name__ == "DistributedDataParallel":
            inner = student.module
        if not isinstance(inner, nn.Module):
            network = copy.deepcopy(student).cpu().float().eval()
            for tensor in (*network.parameters(), *network.buffers()):
                # torch.export.save warns of tensors that are parts of others
                tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
            return network
        student = inner


def _random_batch(rows: int, shape: Sequence[int]) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, *shape, generator=generator)


def _metadata(
    encoder: nn.Module, example: dict[str, Tensor], shape: Sequence[int], classes: Any
) -> dict[str, Any]:
    from xdistill import __version__  # this module is imported by the package itself

    logits = example.get("logits")
    width = None if logits is None else logits.shape[1]
    names = None if classes is None else list(classes)
    if names is not None and len(names) != width:
        raise ValueError(
            f"classes names {len(names)} classes, but the student has {width or 'no'} logits; name "
            "what each logit stands for"
        )
    return {
        "modality": str(getattr(encoder, "modality", "")),
        "classes": names,
        "num_classes": width,
        "dim": example["embedding"].shape[1],
        "input_shape": list(shape),
        "xdistill_version": __version__,
    }


def _program(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad():
            return torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # whatever the network's own code or torch.export raises
        raise _refused(network, "torch.export", error) from error


def _onnx(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> Made:
    onnx, onnxruntime = (import_extra(name, "export", WHAT) for name in ("onnx", "onnxruntime"))
    names = ["embedding"] + ["logits"] * (metadata["num_classes"] is not None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own converter about its own code
            converted = torch.onnx.export(
                program, dynamo=True, input_names=["input"], output_names=names, verbose=False
            )
    except Exception as error:  # the converter raises many kinds
        raise _refused(program, "the ONNX converter", error) from error
    assert converted is not None
    model = converted.model_proto
    onnx.helper.set_model_props(model, {key: json.dumps(one) for key, one in metadata.items()})
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> dict[str, Tensor]:
        values = session.run(names, {"input": batch.numpy()})
        return {name: torch.as_tensor(one) for name, one in zip(names, values, strict=True)}

    return content, run


def _torch_export(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> Made:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})
    content = file.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()


def _refused(network: object, what: str, error: Exception) -> ValueError:
    """One sentence of what may be pages."""
    inner = getattr(network, "encoder", None)
    name = "the student" if inner is None else type(getattr(inner, "network", inner)).__name__
    lines = [line.strip(" -") for line in str(error.__cause__ or error).splitlines()]
    why = next((line for line in lines if line), type(error).__name__)
    return ValueError(
        f"{name} cannot be exported with a batch of any size, since {what} refuses it "
        f"({type(error).__name__}: {why[:300]}); change what it names, or choose another student"
    )


def _require_equal(found: dict[str, Tensor], right: dict[str, Tensor], format: Format) -> None:
    for name, value in right.items():
        error = float((found[name].detach() - value).abs().max())
        scale = max(1.0, float(value.abs().max()))
        if found[name].shape != value.shape or not error <= TOLERANCE * scale:
            raise ValueError(
                f"the {format} program returns another {name} than the student for {len(value)} "
                f"row(s) (largest difference {error:.3g}); it was not written. Export the other "
                "format, or another student"
            )


def _write(path: Path, content: bytes) -> Path:
    """The file whole, or none: it is written beside its place and then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
