"""Processes that die take no other run with them."""

import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from xdistill.experiment import Result, TeacherTrial
from xdistill.experiment.workers import Place, Workers


@pytest.mark.slow
def test_a_pool_that_broke_before_anything_was_handed_over_is_replaced(tmp_path):
    trial = TeacherTrial("mfh_gaussian", "teacher", 0)
    with Workers(Place(Path("data"), tmp_path), processes=1) as workers:
        with pytest.raises(BrokenProcessPool):
            workers.pool.submit(os._exit, 3).result()
        with pytest.raises(BrokenProcessPool):
            workers.pool.submit(os.getpid)
        found = workers.run("teachers", [trial])
    assert isinstance(found[trial], Result)
