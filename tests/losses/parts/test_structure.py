"""The structure terms against loops over nodes, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.losses.largest_tensor import LargestTensor
from xdistill.kernels import dispatch
from xdistill.losses.parts.structure import GraphSimilarity, affinity


def slow_affinity(student, teacher, valid, temperature, neighbours=None):
    rows = [i for i in range(len(student)) if valid[i]]
    total, counted = 0.0, 0
    for i in rows:
        others = [j for j in rows if j != i]
        a_t = {j: F.cosine_similarity(teacher[i], teacher[j], dim=0).item() for j in others}
        a_s = {j: F.cosine_similarity(student[i], student[j], dim=0) for j in others}
        others = sorted(others, key=lambda j, a_t=a_t: -a_t[j])[:neighbours]
        if not others:
            continue
        counted += 1
        z_t = sum(math.exp(a_t[j] / temperature) for j in others)
        z_s = sum(torch.exp(a_s[j] / temperature) for j in others)
        for j in others:
            p_t = math.exp(a_t[j] / temperature) / z_t
            total = total + p_t * (math.log(p_t) - torch.log(torch.exp(a_s[j] / temperature) / z_s))
    return total / max(counted, 1)


def pair(b=6, d=4, e=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(b, n, generator=g, dtype=torch.float64) for n in (d, e))


@pytest.mark.parametrize("neighbours", [None, 1, 3, 50])
@pytest.mark.parametrize("masked", [False, True])
def test_affinity_is_the_loop_over_nodes(masked, neighbours):
    student, teacher = pair()
    valid = torch.tensor([True, True, not masked, True, not masked, True])
    expected = slow_affinity(student, teacher, valid, 0.3, neighbours)
    student[~valid], teacher[~valid] = torch.nan, torch.inf
    value = affinity(student, teacher, valid, 0.3, neighbours)
    assert torch.allclose(value, torch.as_tensor(expected, dtype=torch.float64))


def test_affinity_is_zero_for_equal_geometry_and_positive_otherwise():
    student, teacher = pair()
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    assert affinity(3 * teacher @ rotation, teacher).abs() < 1e-12
    assert affinity(student, teacher) > 0.01


def test_affinity_teaches_the_student_alone():
    student, teacher = (x.requires_grad_() for x in pair())
    affinity(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_affinity_gradcheck():
    student, teacher = pair()
    assert torch.autograd.gradcheck(lambda s: affinity(s, teacher), student.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda s: affinity(s, teacher, neighbours=2), student.requires_grad_()
    )


@pytest.mark.parametrize("temperature", [0.1, 1e-3])
@pytest.mark.parametrize("case", ["one row", "none valid", "one valid", "equal", "zeros", "huge"])
def test_affinity_stays_finite(case, temperature):
    student, teacher = (x.float() for x in pair(b=1 if case == "one row" else 5))
    valid = torch.full((len(student),), case != "none valid")
    if case == "one valid":
        valid[1:] = False
    if case == "equal":
        student, teacher = student[:1].repeat(5, 1), teacher[:1].repeat(5, 1)
    if case == "zeros":
        student, teacher = 0 * student, 0 * teacher
    if case == "huge":
        student, teacher = 1e4 * student, 1e4 * teacher
    student.requires_grad_()
    value = affinity(student, teacher, valid, temperature)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    if case in ("one row", "none valid", "one valid"):
        assert value == 0 and (student.grad == 0).all()


@pytest.mark.parametrize("neighbours", [None, 3])
def test_affinity_of_a_large_batch_makes_no_matrix(neighbours, monkeypatch):
    student, teacher = pair(b=64)
    valid = torch.rand(64) < 0.8
    expected = affinity(student, teacher, valid, 0.3, neighbours)
    monkeypatch.setattr(dispatch, "SMALLEST_TILED", 64 * 64)
    with LargestTensor() as largest:
        value = affinity(student.requires_grad_(), teacher, valid, 0.3, neighbours)
        value.backward()
    assert torch.allclose(value, expected)
    assert largest.numbers <= 64 * 5, largest.operation


@pytest.mark.parametrize("masked", [False, True])
def test_graph_is_the_published_formula(masked):
    torch.manual_seed(1)
    graph = GraphSimilarity(4, slices=3).double()
    student, teacher = pair(e=4)
    valid = torch.tensor([True, True, not masked, True, True, not masked])
    pooled = []
    for x in (teacher, student):
        nodes = [x[i] for i in range(6) if valid[i]]
        context = torch.tanh(graph.context.weight @ (sum(nodes) / len(nodes)))
        pooled.append(sum(torch.sigmoid(node @ context) * node for node in nodes))
    h_t, h_s = pooled
    expected = 0.0
    for k in range(3):
        score = h_t @ graph.bilinear.weight[k] @ h_s
        score = score + graph.linear.weight[k] @ torch.cat([h_t, h_s]) + graph.linear.bias[k]
        expected += (score.relu() - 1) ** 2 / 3
    student[~valid], teacher[~valid] = torch.nan, torch.nan
    assert torch.allclose(graph(student, teacher, valid), expected)


def test_graph_can_be_met_by_a_bias():
    graph = GraphSimilarity(4, slices=3).double()
    for parameter in graph.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(graph.linear.bias)
    assert graph(*pair(e=4)) == 0


def test_graph_teaches_the_student_alone_and_needs_two_nodes():
    graph = GraphSimilarity(4).double()
    student, teacher = (x.requires_grad_() for x in pair(e=4))
    graph(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    student.grad = None
    one = torch.tensor([True, *[False] * 5])
    value = graph(student, teacher, one)
    value.backward()
    assert value == 0 and (student.grad == 0).all()


def test_graph_gradcheck():
    graph = GraphSimilarity(4, slices=3).double()
    student, teacher = pair(e=4)
    assert torch.autograd.gradcheck(lambda s: graph(s, teacher), student.requires_grad_())
