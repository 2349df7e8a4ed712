"""The modules that compute the passes, by the name of an implementation."""

from __future__ import annotations

from types import ModuleType

from xdistill.kernels.tiled import affinity as tiled_affinity
from xdistill.kernels.tiled import passes as tiled_passes


def passes_of(impl: str) -> ModuleType:
    """The passes over one matrix of scores. Triton is imported at its first use."""
    if impl == "triton":
        from xdistill.kernels.triton import passes

        return passes
    return tiled_passes


def affinity_of(impl: str) -> ModuleType:
    """The passes over the matrices of student and teacher. Triton is imported at its first use."""
    if impl == "triton":
        from xdistill.kernels.triton import affinity

        return affinity
    return tiled_affinity
