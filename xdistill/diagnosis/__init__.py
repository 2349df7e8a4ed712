"""Will distillation help? What can be said before a student is trained."""

from xdistill.diagnosis.diagnose import Diagnosis, diagnose
from xdistill.diagnosis.expected import Expected, expected_gain

__all__ = ["Diagnosis", "Expected", "diagnose", "expected_gain"]
