"""A small release of S3VE, whole and as a copy that a test may break."""

import shutil
from pathlib import Path

import pytest

from xdistill.data.simulation.sample import SampleConfig, generate

CONFIG = SampleConfig(subjects=4, teacher_subjects=2, clips_per_night=12)


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("s3ve") / "sample", CONFIG, workers=1)


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "s3ve"))
