"""An exported student, which onnxruntime computes: no training library is needed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xdistill.extras import import_extra
from xdistill.sleep.context.hmm import Hmm, smooth
from xdistill.sleep.model import video_options
from xdistill.sleep.stage.facts import student_facts
from xdistill.sleep.stage.onnx_format import night_entries
from xdistill.sleep.stage.stager import clips_as_input, columns_of

WHAT = "staging with an exported student"


class OnnxStager:
    """The calls of `Stager` on a file that `xdistill export --model RUN` wrote.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: onnxruntime is missing.
        ValueError: it is no ONNX file, or none of a sleep stager.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"there is no exported student {path}")
        self._session = _session(path.read_bytes(), str(path))
        held = self._session.get_modelmeta().custom_metadata_map
        entries = night_entries({key: json.loads(one) for key, one in held.items()}, str(path))
        self.modalities = tuple(entries.modalities)
        self.preprocessing = video_options(entries.preprocessing)
        self.causal = bool(entries.context["causal"]) or entries.context["kind"] == "none"
        self.facts = student_facts(
            f"{path} (of {entries.name})",
            entries.trained,
            entries.held_out,
            entries.training_signals,
        )
        self._columns = columns_of(json.loads(held["classes"]))
        self._classes = len(self._columns)
        self._kind = entries.context["kind"]
        hmm = entries.context["hmm"]
        self._hmm = None
        if hmm is not None:
            moves = tuple(map(tuple, hmm["moves"]))
            self._hmm = Hmm(tuple(hmm["start"]), moves, tuple(hmm["prior"]), hmm["trust"])
        self._head = None
        if entries.context_network is not None:
            self._head = _session(base64.b64decode(entries.context_network), f"context of {path}")

    def embed(self, clips: np.ndarray, bodies: np.ndarray) -> np.ndarray:
        """See `Stager`."""
        if self.modalities == ("video",):
            x = clips_as_input(clips)
        elif self.modalities == ("body",):
            x = np.asarray(bodies, np.float32)
        else:
            flat = [one.reshape(len(one), -1) for one in (clips_as_input(clips), bodies)]
            x = np.concatenate(flat, axis=1, dtype=np.float32)[:, None]
        found = self._session.run(["embedding", "logits"], {"input": x})
        return np.concatenate(found, axis=1)

    def stage(self, rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """See `Stager`."""
        rows = np.where(valid[:, None], rows, 0).astype(np.float32)
        own = _softmax(rows[:, -self._classes :])
        if self._kind == "head" and self._head is not None:
            found = self._with_head(rows, valid)
        elif self._kind == "hmm" and self._hmm is not None:
            told, seen = torch.from_numpy(own), torch.from_numpy(valid)
            found = smooth(self._hmm, told, seen, causal=self.causal).numpy()
        else:
            found = own
        return np.where(valid[:, None], found, np.nan).astype(np.float32)[:, self._columns]

    def _with_head(self, rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
        found = np.full((len(rows), self._classes), np.nan, np.float32)
        end = int(np.flatnonzero(valid)[-1]) + 1 if valid.any() else 0
        if end and self._head is not None:
            night = {"rows": rows[None, :end], "valid": valid[None, :end]}
            found[:end] = np.exp(self._head.run(None, night)[0][0])
        return found


def _session(content: bytes, where: str) -> Any:
    runtime = import_extra("onnxruntime", "export", WHAT)
    try:
        return runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class but Exception
        raise ValueError(
            f"{where} is no ONNX program that can be run ({str(error)[:200]}); export the run again"
        ) from error


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
