"""Simulated nights as files in their true formats."""
