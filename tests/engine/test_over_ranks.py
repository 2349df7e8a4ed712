"""Two processes see what one sees, and come to the same numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from tests.toy import toy_data
from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.engine.over_ranks import batches_of_rank, over_ranks

ROOT = Path(__file__).parents[2]


def dealt(batches, size):
    return [list(batches_of_rank(batches, rank, size)) for rank in range(size)]


def test_whole_batches_are_dealt_in_turn():
    batches = [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert dealt(batches, 2) == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    assert dealt(batches, 1) == [batches]


def test_the_rows_of_a_last_round_are_dealt_evenly():
    assert dealt([[0, 1, 2], [3, 4, 5], [6, 7, 8]], 2) == [[[0, 1, 2], [6, 7]], [[3, 4, 5], [8, 0]]]
    assert dealt([[0, 1, 2], [3]], 2) == [[[0, 1]], [[2, 3]]]
    assert dealt([[0, 1], [2]], 4) == [[[0]], [[1]], [[2]], [[0]]]


def test_one_process_gets_the_whole_order_of_each_epoch():
    loader = paired_loader(toy_data(), 16, shuffle=True, seed=3)
    dealt = over_ranks(loader)
    for epoch in (0, 1):
        dealt.batch_sampler.set_epoch(epoch)
        orders = [[batch.index.tolist() for batch in one] for one in (loader, dealt)]
        assert orders[0] == orders[1] and len(dealt) == 4


def test_a_loader_that_is_dealt_already_or_makes_no_batches():
    data = toy_data()
    sampler = DistributedSampler(data, 2, 0)
    dealt = DataLoader(data, 16, sampler=sampler, collate_fn=collate)
    assert over_ranks(dealt) is dealt and over_ranks(None) is None
    with pytest.raises(ValueError, match="batch_size=None cannot be dealt"):
        over_ranks(DataLoader(data, batch_size=None, sampler=SequentialSampler(data)))


def processes(number: int, kind: str, folder: Path) -> list[dict]:
    """What each process has at the end, in their order."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.engine.two_processes", str(number), kind, str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "embedding"])
def test_two_processes_end_with_the_numbers_of_one(kind, tmp_path):
    first, second = processes(2, kind, tmp_path / "two")
    (alone,) = processes(1, kind, tmp_path / "one")
    assert first == second
    assert first["student"] == pytest.approx(alone["student"], rel=1e-5, abs=1e-6)
    assert first["best"] == alone["best"]
    for row, expected in zip(first["history"], alone["history"], strict=True):
        assert row == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_every_batch_of_every_process_keeps_its_labelled_rows(tmp_path):
    assert all(set(one["labelled"]) == {2} for one in processes(2, "streams", tmp_path / "two"))


@pytest.mark.slow
def test_nan_in_one_process_ends_all_and_leaves_the_same_student(tmp_path):
    first, second = processes(2, "nan", tmp_path / "two")
    assert "one_rank/hidden" in second["error"] and "step 4 (epoch 1)" in second["error"]
    assert "another process found NaN" in first["error"]
    assert first["student"] == second["student"]
