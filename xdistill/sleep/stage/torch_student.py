"""A student of a run, which PyTorch computes."""

from __future__ import annotations

import numpy as np
import torch

from xdistill.sleep.model import NightModel
from xdistill.sleep.report.student import StudentFacts
from xdistill.sleep.stage.stager import clips_as_input, columns_of


class TorchStager:
    """The calls of `Stager` on a night model; on a GPU where there is one.

    Args:
        model: of a run.
        facts: of the run.

    Raises:
        ValueError: the model does not tell the five stages apart.
    """

    def __init__(self, model: NightModel, facts: StudentFacts):
        self.facts = facts
        self.model = model
        self.preprocessing = model.preprocessing
        self.modalities = tuple(model.modalities)
        self.causal = model.context.causal or model.context.kind == "none"
        self._columns = columns_of(model.classes)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model.encoder.to(self._device)

    def embed(self, clips: np.ndarray, bodies: np.ndarray) -> np.ndarray:
        """See `Stager`."""
        inputs = {"video": clips_as_input(clips), "body": bodies}
        batch = {
            name: torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self._device)
            for name in self.modalities
        }
        return self.model.embed(batch).float().cpu().numpy()

    def stage(self, rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """See `Stager`."""
        found = self.model.stage(torch.from_numpy(rows), torch.from_numpy(valid))
        return found.float().numpy()[:, self._columns]
