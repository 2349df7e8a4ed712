"""What `benchmarks/diagnose.py` learned from the suite's runs; written by it."""

INTERCEPT = -0.0455
PER_DOUBLING = 0.0340
SPREAD = (-0.0667, 0.1080)
