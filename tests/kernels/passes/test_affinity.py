"""The passes of affinity_kl over tiles, and the checks of PyTorch for operators."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.affinity_problems import problem, small_tiles
from tests.losses.largest_tensor import LargestTensor
from xdistill.kernels import affinity_kl
from xdistill.kernels.passes import affinity_stats, neighbours
from xdistill.kernels.tiled import affinity as tiled_affinity
from xdistill.kernels.tiled import passes as tiled
from xdistill.numerics import EXCLUDED


@pytest.fixture(autouse=True, scope="module")
def _small_tiles():
    with small_tiles():
        yield


@pytest.mark.parametrize("count", [1, 4, 25, 40])
def test_nearest_keys_are_those_of_a_sort(count):
    g = torch.Generator().manual_seed(0)
    tx, tk = (torch.randn(n, 3, generator=g, dtype=torch.float64) for n in (30, 40))
    valid = torch.rand(40, generator=g) < 0.6
    for own, mask in [(None, None), (0, valid), (5, valid), (-4, None)]:
        scores = tx @ tk.T
        if own is not None:
            for i in range(max(0, -own), min(30, 40 - own)):
                scores[i, i + own] = -torch.inf
        if mask is not None:
            scores[:, ~mask] = -torch.inf
        ordered = scores.sort(descending=True)
        exists = ordered.values[:, :count] > -torch.inf
        place, found = neighbours.nearest_keys(tx, tk, mask, own, count)
        assert torch.equal(found, exists)
        assert torch.equal(place[found], ordered.indices[:, :count][exists])
        assert ((place >= 0) & (place < 40)).all()


@pytest.mark.parametrize("temperature", [0.2, 0.01])
@pytest.mark.parametrize("own", [None, 0, 4, -3])
@pytest.mark.parametrize("masked", [False, True])
def test_statistics_of_a_pass(own, masked, temperature):
    made = problem("keys", 13, 17, 4, 3, temperature=temperature)
    x, k, tx, tk = (
        made.student_rows / temperature,
        made.student_keys,
        made.teacher_rows / temperature,
        made.teacher_keys,
    )
    valid = made.key_valid if masked else None
    if masked:
        k, tk = k * valid[:, None], tk * valid[:, None]
    found = tiled_affinity.affinity_stats(x, k, tx, tk, valid, own)
    for i in range(13):
        met = [j for j in range(17) if j - i != own and (valid is None or valid[j])]
        s, t = k[met] @ x[i], tk[met] @ tx[i]
        expected = s.logsumexp(0), t.logsumexp(0), (t.softmax(0) * (t - s)).sum()
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[i], theirs)


@pytest.mark.parametrize("temperature", [0.2, 0.01])
def test_a_row_without_candidates_in_a_pass(temperature):
    """Its statistics are the documented ones, and no upstream gradient passes through them."""
    x, k = torch.randn(1, 3) / temperature, torch.randn(1, 3)
    masked = torch.zeros(1, dtype=torch.bool)
    for valid, own in [(None, 0), (masked, None)]:
        lse, target, cross = tiled_affinity.affinity_stats(x, k, x, k, valid, own)
        assert (lse == EXCLUDED).all() and (target == EXCLUDED).all() and (cross == 0).all()
        up = torch.tensor([2.0]), torch.tensor([5.0])
        gradients = tiled_affinity.affinity_stats_backward(
            x, k, x, k, valid, own, lse, target, *up, True, True
        )
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_no_tensor_is_as_large_as_the_matrix(form):
    n, m, d = 300, 280, 8
    made = problem(form, n, m, d, d)
    with LargestTensor() as outside:
        made.run(affinity_kl, impl="tiled")
    assert outside.numbers <= n * d
    keys, teacher_keys = (
        (made.student_rows, made.teacher_rows)
        if form != "keys"
        else (made.student_keys, made.teacher_keys)
    )
    x, tx, up = made.student_rows / 0.1, made.teacher_rows / 0.1, torch.ones(n).double()
    with LargestTensor() as inside:
        if form == "neighbours":
            place, _ = tiled_affinity.nearest_keys(tx, teacher_keys, made.valid, 0, 3)
            scores = tiled_affinity.edge_scores(x, keys, place)
            tiled_affinity.edge_scores_backward(x, keys, place, scores, True, True)
        else:
            own, valid = (0, made.valid) if form == "self" else (None, made.key_valid)
            inputs = x, keys, tx, teacher_keys, valid, own
            lse, target_lse, _ = tiled_affinity.affinity_stats(*inputs)
            tiled_affinity.affinity_stats_backward(
                *inputs, lse, target_lse, up, up, True, True
            )  # fmt: skip
    assert tiled.ROWS * tiled.KEYS <= inside.numbers <= n * d, inside.operation


def operator_calls():
    """Each operator with arguments of every kind."""
    made = problem("keys", 13, 13, 4, 3).to(torch.float32)
    x, k, up = (
        made.student_rows.requires_grad_(),
        made.student_keys.requires_grad_(),
        torch.randn(13),
    )
    bare, teacher = (x.detach(), k.detach()), (made.teacher_rows, made.teacher_keys)
    for valid, own in [(None, None), (made.key_valid, 0)]:
        shared = *teacher, valid, own
        yield affinity_stats.operator, (x, k, *shared, "tiled")
        lse, target_lse, _ = affinity_stats.operator(*bare, *shared, "tiled")
        for need in [(True, True), (True, False), (False, True)]:
            saved = lse, target_lse, up, up
            arguments = *bare, *shared, *saved, *need, "tiled"
            yield affinity_stats.operator_backward, arguments
        yield neighbours.nearest_keys, (*teacher, valid, own, 4)
    place, _ = neighbours.nearest_keys(*teacher, None, 0, 4)
    yield neighbours.edge_scores, (x, k, place)
    for need in [(True, True), (True, False), (False, True)]:
        arguments = *bare, place, torch.randn(13, 4), *need
        yield neighbours.edge_scores_backward, arguments


# opcheck itself reads the gradient of a copy that it made of a leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_operators_pass_opcheck():
    for operator, arguments in operator_calls():
        torch.library.opcheck(operator, arguments)
