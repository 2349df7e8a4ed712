"""Paired datasets, splits, caches; below, the adapters of benchmarks and what they read."""
