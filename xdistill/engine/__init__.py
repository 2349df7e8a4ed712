"""Training with Lightning: `fit`, and what a run leaves."""

from xdistill.engine.fit import fit
from xdistill.engine.run_state import FitResult

__all__ = ["FitResult", "fit"]
