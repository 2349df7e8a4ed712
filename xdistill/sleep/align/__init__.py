"""Clocks of two recordings of one night: offset and drift."""

from xdistill.sleep.align.clocks import Alignment, alignment_text, estimate_alignment
from xdistill.sleep.align.grids import expected_offset, grids

__all__ = ["Alignment", "alignment_text", "estimate_alignment", "expected_offset", "grids"]
