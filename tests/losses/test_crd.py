from __future__ import annotations

import math

import pytest
import torch
from torchdistill.losses.mid_level import CRDLoss

from tests.losses.batches import SAMPLES, bound_loss, random_batch, step
from tests.losses.loops import close, dot, gradcheck, mean, rows64
from tests.losses.parity import agree
from xdistill.losses.crd import CRD, crd
from xdistill.losses.parts.crd_memory import IndexMemory
from xdistill.losses.parts.unit_rows import unit_rows
from xdistill.types import Outputs


def twin(positive, negative, z_mean):
    """The published objective with N = 1000 written out: it cancels."""
    n = 1000
    values = []
    for own, others in zip(positive, negative, strict=True):
        noise = len(others) / n

        def h(score, noise=noise):
            p = math.exp(score) / (n * z_mean)
            return p / (p + noise)

        values.append(-math.log(h(own)) - sum(math.log(1 - h(other)) for other in others))
    return mean(values)


def test_closed_form():
    # One negative, all scores at the mean: h is one half everywhere.
    value = crd(torch.zeros(2), torch.zeros(2, 1), 0.0)
    torch.testing.assert_close(value, torch.tensor(2 * math.log(2)))


def test_twin():
    positive, negative = rows64(4), rows64(4, 7, seed=1)
    close(crd(positive, negative, math.log(1.7)), twin(positive.tolist(), negative.tolist(), 1.7))


def test_negatives_that_are_not_there_do_not_count():
    positive, negative = rows64(2), rows64(2, 5, seed=1)
    counted = torch.tensor([[True, False, True, False, True]]).expand(2, -1)
    exact = crd(positive, negative[:, ::2], 0.3)
    close(crd(positive, negative, 0.3, counted=counted), exact.item())


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(lambda p, n: crd(p, n, 0.4, valid), rows64(3), rows64(3, 5, seed=1))


def test_whole_loss_from_the_banks():
    """All other rows are negatives when num_negatives reaches N − 1; one step in Python loops."""
    torch.manual_seed(0)
    loss = CRD(dim=None, num_samples=7).bind(4, 4).double()
    batch = random_batch(3, 4, 4, dtype=torch.float64).change(index=torch.tensor([5, 0, 2]))
    banks = {"s": loss.memory.student.tolist(), "t": loss.memory.teacher.tolist()}
    anchors = {
        "s": unit_rows(batch.student.embedding).tolist(),
        "t": unit_rows(batch.teacher.embedding).tolist(),
    }
    exact = 0.0
    for side, other in (("s", "t"), ("t", "s")):
        scores = [[dot(a, key) / 0.07 for key in banks[other]] for a in anchors[side]]
        z_mean = mean([math.exp(u) for row in scores for u in row])
        positive = [row[i] for row, i in zip(scores, [5, 0, 2], strict=True)]
        negative = [
            [u for j, u in enumerate(row) if j != i]
            for row, i in zip(scores, [5, 0, 2], strict=True)
        ]
        exact += twin(positive, negative, z_mean)
    close(loss(batch.student, batch.teacher, index=batch.index), exact)
    moved = unit_rows(0.5 * torch.tensor(banks["s"][5]) + 0.5 * torch.tensor(anchors["s"][0]))
    torch.testing.assert_close(loss.memory.student[5], moved.double(), rtol=1e-6, atol=1e-6)
    assert loss.memory.student[1].tolist() == banks["s"][1]


@pytest.mark.parametrize("steps", [1, 3])
def test_parity_with_torchdistill_whole_steps(steps):
    """All other rows are its negatives too; its eps of 1e-7 in two logarithms is left out."""
    rows, dim, index = 8, 4, torch.tensor([5, 0, 2])
    ours = CRD(dim=None, num_samples=rows).bind(dim, dim).double()
    theirs = CRDLoss("norm", "empty", "norm", dim, rows, rows - 1, rows, eps=0.0).double()
    theirs.memory_v1.copy_(ours.memory.student)
    theirs.memory_v2.copy_(ours.memory.teacher)
    others = torch.tensor([[j for j in range(rows) if j != i] for i in index])
    positions = {"pos_idx": index, "contrast_idx": torch.cat([index[:, None], others], dim=1)}

    def their_value(s, t):
        student = {"norm": {"output": unit_rows(s)}, "empty": {"input": positions}}
        return theirs(student, {"norm": {"output": unit_rows(t)}}).squeeze()

    def our_value(s, t):
        return ours(Outputs(s), Outputs(t), index=index)

    for seed in range(steps):  # the later ones meet the updated banks and the first normaliser
        s, t = rows64(3, dim, seed=seed), rows64(3, dim, seed=seed + 10)
        agree(lambda s, t=t: our_value(s, t), lambda s, t=t: their_value(s, t), s)
        torch.testing.assert_close(ours.memory.student, theirs.memory_v1)
        torch.testing.assert_close(ours.memory.teacher, theirs.memory_v2)


def test_the_normaliser_is_that_of_the_first_batch():
    loss = bound_loss("crd")
    step(loss, random_batch(seed=1))
    first = loss.log_mean.clone()
    step(loss, random_batch(seed=2))
    assert torch.equal(loss.log_mean, first)
    empty = random_batch().change(valid=torch.zeros(6, dtype=torch.bool))
    late = bound_loss("crd")
    step(late, empty)
    assert not late.has_mean
    step(late, random_batch(seed=1))
    torch.testing.assert_close(late.log_mean, first)


def test_sampled_negatives_follow_the_seed_and_spare_the_own_row():
    memory = IndexMemory(50, 3, num_negatives=20, momentum=0.5)
    assert len(memory._offsets(torch.device("cpu"))) == 21
    loss, batch = bound_loss("crd", num_negatives=20), random_batch()
    loss.eval()
    assert step(loss, batch, seed=1).value == step(loss, batch, seed=1).value
    assert step(loss, batch, seed=1).value != step(loss, batch, seed=2).value
    for _ in range(20):
        offsets = memory._offsets(torch.device("cpu"))
        assert offsets[0] == 0
        assert (offsets[1:] > 0).all()
        assert (offsets < 50).all()


def test_copied_rows_and_one_product_agree():
    """Few negatives of a long bank are copied; many are taken from one product."""
    memory = IndexMemory(60, 4, num_negatives=3, momentum=0.5).double()
    anchor, slots = unit_rows(rows64(5, 4)), torch.arange(20).reshape(5, 4)
    copied = memory._cosines(anchor, memory.teacher, slots)
    whole = memory._cosines(anchor, memory.teacher[:20], slots % 20)
    expected = (memory.teacher[slots] * anchor[:, None]).sum(-1)
    torch.testing.assert_close(copied, expected)
    torch.testing.assert_close(whole, (memory.teacher[slots % 20] * anchor[:, None]).sum(-1))


def test_form_follows_num_samples():
    assert isinstance(CRD().bind(8, 8, num_samples=9).memory, IndexMemory)
    queue = CRD().bind(8, 8)
    assert queue.memory.bank.size == 16384
    assert CRD(form="queue", num_negatives=30).bind(8, 8, num_samples=9).memory.bank.size == 9
    assert CRD(num_samples=9).bind(8, 8).memory.num_negatives == 8
    assert CRD().bind(8, 6).memory.dim == 128


@pytest.mark.parametrize("with_index", [True, False])
def test_queue(with_index):
    """Negatives are the batch's other rows and what was queued, but for the own row if known."""
    loss = CRD(form="queue", num_negatives=4, dim=None).bind(8, 8).double()
    first = random_batch(3, dtype=torch.float64, seed=1).change(index=torch.tensor([0, 1, 2]))
    second = random_batch(2, dtype=torch.float64, seed=2).change(index=torch.tensor([1, 7]))
    if not with_index:
        first, second = first.change(index=None), second.change(index=None)
    step(loss, first)
    z_means = loss.log_mean.exp().tolist()
    value = step(loss, second).value

    old = [unit_rows(first.student.embedding), unit_rows(first.teacher.embedding)]
    new = [unit_rows(second.student.embedding), unit_rows(second.teacher.embedding)]
    exact = 0.0
    for side in (0, 1):
        anchor, key, queue = new[side].tolist(), new[1 - side].tolist(), old[1 - side].tolist()
        for i in (0, 1):
            others = [key[1 - i]] + [
                row for j, row in enumerate(queue) if not (with_index and i == 0 and j == 1)
            ]
            negative = [dot(anchor[i], other) / 0.07 for other in others]
            positive = dot(anchor[i], key[i]) / 0.07
            exact += twin([positive], [negative], z_means[side]) / 2
    torch.testing.assert_close(value, torch.tensor(exact).double(), rtol=1e-6, atol=1e-6)
    assert loss.memory.bank.filled == 4


def test_the_queue_passes_the_contract_too():
    batch = random_batch(teacher_dim=5)
    for valid in (None, torch.zeros(6, dtype=torch.bool), torch.arange(6) == 2):
        loss = bound_loss("crd", teacher_dim=5, form="queue", num_negatives=10)
        for _ in range(3):
            result = step(loss, batch.change(valid=valid, index=None))
            assert all(torch.isfinite(tensor).all() for tensor in result.tensors().values())


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="form must be"):
        CRD(form="bank")
    with pytest.raises(ValueError, match="needs num_samples"):
        CRD(form="index").bind(8, 8)
    with pytest.raises(ValueError, match="at least 2"):
        CRD(num_samples=1).bind(8, 8)
    with pytest.raises(ValueError, match="no memory yet"):
        CRD()(batch.student, batch.teacher)
    loss = bound_loss("crd")
    with pytest.raises(ValueError, match="needs index"):
        loss(batch.student, batch.teacher)
    with pytest.raises(ValueError, match=f"made for {SAMPLES} rows, index holds 99"):
        loss(batch.student, batch.teacher, index=torch.tensor([0, 1, 2, 3, 4, 99]))
    loss.attach(torch.nn.Linear(8, 5), torch.nn.Linear(8, 5))
    with pytest.raises(ValueError, match="bound for embeddings of width 128, got 5"):
        loss(batch.student, batch.teacher, index=batch.index)
