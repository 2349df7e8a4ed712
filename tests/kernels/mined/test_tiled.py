"""The chunked pass of the mined losses: any chunk, any type, against the reference in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.kernels.khn_twin import batch, with_gradients
from tests.kernels.problems import IMPLS
from xdistill.kernels import khn
from xdistill.kernels.mined import tiled as khn_tiled
from xdistill.kernels.mined.operator import khn_fused, khn_scale
from xdistill.kernels.mined.relations import Side, relate

MININGS = ("semihard", "hard", "random", "all")
FORMS = ("triplet", "nce")
every_way = pytest.mark.parametrize(("form", "mining"), [*itertools.product(FORMS, MININGS)])


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(khn_tiled, "NUMBERS", 60)


def problem(seed, b=23, q=31, d=6, dtype=torch.float64):
    a, p, labels, bank, bank_labels, g = batch(seed, b, q, d, dtype=dtype)
    options = {
        "bank": bank,
        "bank_labels": bank_labels,
        "margin": 0.8,
        "num_negatives": 3,
        "seed": 5,
    }
    options["valid"] = torch.rand(b, generator=g) < 0.8
    options["index"] = torch.randint(-1, b, (b,), generator=g)
    options["bank_index"] = torch.randint(-1, b, (q,), generator=g)
    options["bank_valid"] = torch.rand(q, generator=g) < 0.8
    return a, p, labels, options


@every_way
@pytest.mark.parametrize("positives", ["class", "pair"])
def test_chunks_add_up_to_the_reference(form, mining, positives, small_chunks):
    for seed in range(4):
        a, p, labels, options = problem(seed)
        options |= {"form": form, "mining": mining, "positives": positives}
        got = with_gradients(khn, a, p, labels, **options, impl="tiled")
        expected = with_gradients(khn, a, p, labels, **options, impl="reference")
        for ours, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@given(
    seed=st.integers(0, 2**16),
    b=st.sampled_from([1, 2, 3, 17, 40]),
    q=st.sampled_from([0, 1, 3, 65]),
    d=st.sampled_from([1, 3, 17, 64]),
    k=st.integers(1, 80),
    mining=st.sampled_from(MININGS),
    form=st.sampled_from(FORMS),
    symmetric_labels=st.booleans(),
)
def test_any_shape(seed, b, q, d, k, mining, form, symmetric_labels):
    a, p, labels, options = problem(seed, b, q, d)
    options |= {"form": form, "mining": mining, "num_negatives": k}
    labels = labels if symmetric_labels else None
    got = with_gradients(khn, a, p, labels, **options, impl="tiled")
    expected = with_gradients(khn, a, p, labels, **options, impl="reference")
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


@every_way
@pytest.mark.parametrize(
    ("dtype", "allowed"), [(torch.float32, 5e-4), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)]
)
@pytest.mark.parametrize(("b", "q", "d"), [(65, 257, 100), (17, 64, 768), (100, 3, 3)])
def test_no_less_exact_than_the_reference(form, mining, dtype, allowed, b, q, d):
    a, p, labels, options = problem(b, b, q, d, dtype=torch.float32)
    a, p, options["bank"] = (x.to(dtype) for x in (a, p, options["bank"]))
    options |= {"form": form, "mining": mining}
    exact_bank = options["bank"].double()
    exact = with_gradients(khn, a.double(), p.double(), labels, **options | {"bank": exact_bank})
    tiled = with_gradients(khn, a, p, labels, **options, impl="tiled")
    reference = with_gradients(khn, a, p, labels, **options, impl="reference")
    for ours, theirs, truth in zip(tiled, reference, exact, strict=True):
        error, of_reference = ((x.double() - truth).abs().max() for x in (ours, theirs))
        assert error <= of_reference + allowed


@pytest.mark.skipif("triton" not in IMPLS, reason="Triton does not run here")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mining", ["semihard", "hard"])
@pytest.mark.parametrize(("b", "q", "k"), [(7, 9, 2), (23, 140, 5), (3, 0, 4), (1, 3, 80)])
def test_triton_finds_the_same_negatives(form, mining, b, q, k, small_chunks):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for seed in range(2):
        a, p, labels, options = problem(seed, b, q, dtype=torch.float32)
        a, p, labels = (x.to(device) for x in (a, p, labels))
        options = {n: x.to(device) if torch.is_tensor(x) else x for n, x in options.items()}
        options |= {"form": form, "mining": mining, "num_negatives": k}
        got = with_gradients(khn, a, p, labels, **options, impl="triton")
        expected = with_gradients(khn, a, p, labels, **options, impl="tiled")
        for ours, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif("triton" not in IMPLS, reason="Triton does not run here")
def test_triton_keeps_the_first_of_equal_keys():
    from xdistill.kernels.mined.triton import nearest

    device = "cuda" if torch.cuda.is_available() else "cpu"
    distance = torch.tensor([[0.5, 0.2, 0.5, 0.9, 0.2, 0.5] * 40], device=device)
    negative = torch.ones_like(distance, dtype=torch.bool)
    low, high = torch.tensor([[0.1, 0.2, 0.5]], device=device), torch.ones(1, 3, device=device)
    place, found = nearest(distance, negative, low, high, low > 0, 3)
    assert found.all()
    assert [sorted(row) for row in place[0].tolist()] == [[1, 4, 7], [0, 2, 5], [3, 9, 15]]


@pytest.mark.skipif("triton" not in IMPLS, reason="Triton does not run here")
@pytest.mark.parametrize("mining", ["random", "all"])
def test_triton_refuses_what_is_not_ranked_by_distance(mining):
    a, p, labels, options = problem(0, dtype=torch.float32)
    with pytest.raises(ValueError, match='by distance only.*take impl="tiled"'):
        khn(a, p, labels, **options, mining=mining, impl="triton")


def test_all_triplets_are_the_mean_of_a_triple_loop():
    a, p, labels, _ = problem(3, b=9)
    costs = []
    for i, j, n in itertools.product(range(9), repeat=3):
        positive = j == i or (labels[i] >= 0 and labels[j] == labels[i])
        negative = n != i and (labels[i] < 0 or (labels[n] >= 0 and labels[n] != labels[i]))
        if positive and negative:
            near, far = ((a[i] - p[m]).square().sum() for m in (j, n))
            costs.append(torch.relu(near - far + 0.4))
    for impl in ("tiled", "reference"):
        value = khn(a, p, labels, mining="all", margin=0.4, impl=impl)
        torch.testing.assert_close(value, torch.stack(costs).mean())


@every_way
def test_all_rows_equal(form, mining):
    row = F.normalize(torch.randn(1, 5), dim=1).expand(6, 5)
    labels = torch.tensor([0, 0, 1, 1, 2, -1])
    options = {"form": form, "mining": mining, "impl": "tiled"}
    value, da, dp = with_gradients(khn, row, row, labels, **options)
    assert torch.isfinite(value)
    assert torch.isfinite(da).all()
    assert torch.isfinite(dp).all()


@every_way
def test_two_runs_agree_to_the_bit_whatever_memory_held(form, mining, small_chunks):
    a, p, labels, options = problem(7, dtype=torch.float32)
    options |= {"form": form, "mining": mining, "impl": "tiled"}
    first = with_gradients(khn, a, p, labels, **options)
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN too
    try:
        second = with_gradients(khn, a, p, labels, **options)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def arguments(need_gradients=True, mining="semihard", form="triplet", banked=True):
    a, p, labels, options = problem(2, b=7, q=9)
    side = (labels, options["index"], options["valid"])
    names = ("bank_labels", "bank_index", "bank_valid")
    bank = (options["bank"], *(options[name] for name in names))
    bank = bank if banked else (None, None, None, None)
    numbers = (torch.tensor(3), 0.8, 2, 0.1, mining, form, "class", 0, need_gradients, "tiled")
    return a, p, bank[0], *side, *side, *bank[1:], *numbers


# opcheck itself reads the gradient of a copy that it made of a leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("need_gradients", [True, False])
@pytest.mark.parametrize("banked", [True, False])
def test_the_operators_pass_the_checks_of_torch(need_gradients, banked):
    inputs = list(arguments(need_gradients, banked=banked))
    if need_gradients:
        inputs[:2] = [x.clone().requires_grad_() for x in inputs[:2]]
    torch.library.opcheck(khn_fused, tuple(inputs))
    a, p = torch.rand(3, 2), torch.rand(4, 2)
    torch.library.opcheck(khn_scale, (a.exp(), p.exp(), torch.ones(()), a, p))


@pytest.mark.parametrize("impl", ["tiled", "reference"])
@every_way
def test_it_compiles_in_one_graph(form, mining, impl):
    a, p, labels, options = problem(8)
    options |= {"form": form, "mining": mining, "impl": impl}

    def step(a, p):
        return khn(a, p, labels, **options)

    torch.compiler.reset()  # dynamo counts the variants of one function over all tests
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(
        with_gradients(compiled, a, p), with_gradients(step, a, p), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_second_derivative_is_refused():
    a, p, labels, options = problem(9)
    a = a.requires_grad_()
    (slope,) = torch.autograd.grad(khn(a, p, labels, **options, impl="tiled"), a, create_graph=True)
    with pytest.raises(RuntimeError, match='impl="reference"'):
        slope.square().sum().backward()


def test_anchors_may_be_a_part_of_the_batch():
    _, _, labels, options = problem(10, b=12)
    side = Side(labels, options["index"], options["valid"])
    whole = relate(side, side, None, "class")
    part = slice(4, 9)
    some = relate(side.rows(part), side, None, "class", own=4)
    for one, two in zip(some, whole, strict=True):
        assert torch.equal(one, two[part])
