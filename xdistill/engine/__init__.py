"""Training with Lightning: `fit`, and what a run leaves."""

from xdistill.engine.cross_fit import CrossFitted, cross_fit_teacher
from xdistill.engine.fit import fit
from xdistill.engine.recipe import Recipe, recipe
from xdistill.engine.run_state import FitResult

__all__ = ["CrossFitted", "FitResult", "Recipe", "cross_fit_teacher", "fit", "recipe"]
