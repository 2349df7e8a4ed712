"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    # Triton's interpreter runs the Triton kernels on the CPU. Triton looks at this when it is first
    # imported, which any test module may do.
    os.environ.setdefault("TRITON_INTERPRET", "1")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

settings.register_profile(
    "xdistill", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("xdistill")


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory):
    """Nothing is read from or left in the user's own cache folder."""
    given = os.environ.get("XDISTILL_CACHE")
    os.environ["XDISTILL_CACHE"] = str(tmp_path_factory.mktemp("xdistill-cache"))
    yield
    os.environ.pop("XDISTILL_CACHE")
    if given is not None:
        os.environ["XDISTILL_CACHE"] = given


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Returns the folder of a real data set beside the checkout; skips where there is none."""

    def find(name: str) -> Path:
        folder = SHARED_DATA / name
        if not folder.is_dir():
            pytest.skip(f"real data not here: {folder} is missing")
        return folder

    return find
