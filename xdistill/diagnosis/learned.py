"""What `benchmarks/diagnose.py` learned from the suite's runs; written by it."""

INTERCEPT = 0.03
PER_POINT = 0.6
SPREAD = (-0.1, 0.1)
