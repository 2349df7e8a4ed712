"""Several processes compute what one process computes on the whole batch."""

from __future__ import annotations

import json

import pytest
import torch

from tests.kernels.over_ranks import ROWS, run
from xdistill import kernels
from xdistill.kernels.distributed import ALONE, share


@pytest.mark.parametrize("size", [2, 4])
def test_value_and_gradients_are_those_of_one_process(size, tmp_path):
    torch.multiprocessing.spawn(run, (size, str(tmp_path)), nprocs=size)
    for rank in range(size):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(found["differences"]) > 100
        for name, error in found["differences"].items():
            assert error <= (1e-10 if "float64" in name else 1e-5), (rank, name)
        assert len(found["averaged"]) == 8
        for name, error in found["averaged"].items():
            assert error <= 1e-10, (rank, name)
        assert found["largest"] <= ROWS * 16
        *uneven, ring = found["refusals"]
        for said in uneven:
            assert "rank 1: [5, 5]" in said or 'gather="ring" shows a part' in said
        assert "cannot tell the nearest" in ring


def test_without_a_process_group_gather_changes_nothing():
    a, b = (torch.nn.functional.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    labels = torch.tensor([0, 0, 1, 1, -1, 2])
    for gather in ("all", "ring"):
        assert share("infonce", gather, a, b) == ALONE
        assert torch.equal(kernels.infonce(a, b, 5.0, gather=gather), kernels.infonce(a, b, 5.0))
    with pytest.raises(ValueError, match="unknown gather 'some'"):
        kernels.supcon(a, b, 5.0, labels, labels, gather="some")
    with pytest.raises(ValueError, match='take gather="all"'):
        kernels.khn(a, b, labels, gather="ring")
