"""The bank against a deque, the slow copy against its formula, the ranks against each other."""

from __future__ import annotations

import copy
from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xdistill.memory import EMA, MemoryBank

Batches = st.lists(st.lists(st.booleans(), max_size=12), max_size=8)


def enqueue_numbered(bank, first, keep):
    numbers = torch.arange(first, first + len(keep))
    keys = numbers[:, None].float().repeat(1, bank.dim)
    valid = torch.tensor(keep, dtype=torch.bool)
    keys[~valid] = torch.nan
    bank.enqueue(keys, numbers % 5, numbers, valid)


@given(size=st.integers(1, 7), batches=Batches)
@settings(deadline=None)
def test_it_holds_the_last_keys(size, batches):
    bank, expected, first = MemoryBank(size, 2), deque(maxlen=size), 0
    for keep in batches:
        enqueue_numbered(bank, first, keep)
        expected.extend(first + i for i, kept in enumerate(keep) if kept)
        first += len(keep)
        assert int(bank.filled) == len(expected) == int(bank.occupied.sum())
        pointer = int(bank.pointer) if len(expected) == size else 0
        ring = bank.indices.roll(-pointer)[: len(expected)]
        assert ring.tolist() == list(expected)
        assert bank.labels[bank.occupied].tolist() == (bank.indices[bank.occupied] % 5).tolist()
        assert torch.equal(bank.keys[bank.occupied][:, 1], bank.indices[bank.occupied].float())
        assert (bank.indices[~bank.occupied] == -1).all()
        assert (bank.keys[~bank.occupied] == 0).all()


def test_labels_and_samples_may_be_unknown():
    bank = MemoryBank(3, 2)
    bank.enqueue(torch.ones(2, 2))
    assert bank.labels.tolist() == bank.indices.tolist() == [-1, -1, -1]
    assert bank.occupied.tolist() == [True, True, False]


def test_the_state_continues_where_it_stopped():
    bank = MemoryBank(5, 2)
    enqueue_numbered(bank, 0, [True] * 7)
    other = MemoryBank(5, 2)
    other.load_state_dict(copy.deepcopy(bank.state_dict()))
    for one in (bank, other):
        enqueue_numbered(one, 7, [True, False, True])
    for name, value in bank.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_nothing_grows():
    bank = MemoryBank(5, 2)
    places = {name: value.data_ptr() for name, value in bank.named_buffers()}
    enqueue_numbered(bank, 0, [True] * 13)
    assert places == {name: value.data_ptr() for name, value in bank.named_buffers()}


def test_wrong_widths_are_refused():
    with pytest.raises(ValueError, match=r"holds keys \[\*, 2\], got \[4, 3\]"):
        MemoryBank(5, 2).enqueue(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="at least 1"):
        MemoryBank(0, 2)


def encoder():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def test_the_copy_follows_parameters_and_statistics():
    torch.manual_seed(0)
    source = encoder()
    ema = EMA(source, momentum=0.9)
    before = copy.deepcopy(ema.module.state_dict())
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1.0)
    source(torch.randn(8, 3))
    ema.update(source)
    counter = "1.num_batches_tracked"
    for name, value in ema.module.state_dict().items():
        if name == counter:
            assert value == source.state_dict()[counter] == 1
        else:
            expected = 0.9 * before[name] + 0.1 * source.state_dict()[name]
            assert torch.allclose(value, expected), name
    assert not torch.equal(before["1.running_mean"], ema.module.state_dict()["1.running_mean"])


def test_the_copy_stays_in_eval_and_without_gradient():
    source = encoder()
    ema = nn.ModuleList([EMA(source)]).train()[0]
    assert not any(module.training for module in ema.modules())
    x = torch.randn(4, 3, requires_grad=True)
    assert torch.equal(ema(x), ema(x))
    assert not ema(x).requires_grad
    assert not any(parameter.requires_grad for parameter in ema.parameters())
    assert all(parameter.requires_grad for parameter in source.parameters())


def test_the_copy_is_saved():
    source = encoder()
    ema, other = EMA(source), EMA(encoder())
    other.load_state_dict(ema.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(ema(x), other(x))


def test_a_copy_refuses_another_module_and_momentum():
    with pytest.raises(ValueError, match="differs from the one that was copied"):
        EMA(nn.Linear(2, 2)).update(nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match="between 0 and 1"):
        EMA(nn.Linear(2, 2), momentum=1.5)


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    bank = MemoryBank(8, 2)
    for step in range(4):
        rows = 3 if rank == 0 else 3 - step % 3  # the second rank brings fewer rows at times
        first = 100 * step + 10 * rank
        enqueue_numbered(bank, first, [i != step % 2 for i in range(rows)])
    torch.save(bank.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_all_ranks_hold_the_same_bank(tmp_path):
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    expected = MemoryBank(8, 2)
    for step in range(4):
        for rank in range(2):
            rows = 3 if rank == 0 else 3 - step % 3
            first_number = 100 * step + 10 * rank
            enqueue_numbered(expected, first_number, [i != step % 2 for i in range(rows)])
    assert torch.equal(first["indices"], expected.indices)
    assert torch.equal(first["keys"], expected.keys)
