"""Hypnograms: read, written, and made by YASA."""
