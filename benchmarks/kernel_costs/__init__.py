"""The parts of benchmarks/kernels.py: problems, contestants, measurements, targets and tables."""
