"""Clocks of two recordings of one night: offset and drift."""
