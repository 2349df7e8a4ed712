"""Results of runs that nobody ran."""

from xdistill.experiment import Result
from xdistill.metrics import Scores


def scored(macro_f1: float) -> Scores:
    return Scores(0.5, macro_f1, 0.1, (macro_f1, macro_f1), ((1, 0), (0, 1)))


def result(val: float = 0.0, test: float = 0.0) -> Result:
    """A result with these macro-F1 on validation and test."""
    return Result(scored(val), scored(test), 0, 1.0, [], [])
