"""The mined loss against loops over pairs, written from the definition in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.kernels.khn_twin import batch, keys_that_matter, negatives_of, slow_khn, with_gradients
from xdistill.kernels import khn
from xdistill.kernels.mined.mining import draw, sort_rows

MINED = ("semihard", "hard")
BOTH = ("tiled", "reference")


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("banked", [True, False])
@pytest.mark.parametrize("positives", ["class", "pair"])
@pytest.mark.parametrize(
    ("form", "mining"), [*itertools.product(["triplet"], MINED), ("nce", "semihard")]
)
def test_it_is_the_loop_over_pairs(form, mining, positives, banked, labelled, impl):
    for seed in range(3):
        a, p, labels, bank, bank_labels, g = batch(seed)
        labels = labels if labelled else None
        options = {
            "form": form,
            "mining": mining,
            "positives": positives,
            "num_negatives": 2,
            "margin": 0.7,
        }
        options["valid"] = torch.rand(7, generator=g) < 0.8
        options["index"] = torch.randint(-1, 5, (7,), generator=g)
        if banked:
            options |= {"bank": bank, "bank_labels": bank_labels}
            options["bank_index"] = torch.randint(-1, 5, (11,), generator=g)
            options["bank_valid"] = torch.rand(11, generator=g) < 0.8
        expected = with_gradients(slow_khn, a, p, labels, **options)
        got = with_gradients(khn, a, p, labels, **options, impl=impl)
        for ours, theirs in zip(got, expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("mining", MINED)
@given(
    seed=st.integers(0, 2**16),
    b=st.integers(1, 9),
    q=st.integers(1, 30),
    k=st.integers(1, 40),
    margin=st.floats(0.05, 4),
)
@settings(max_examples=25, deadline=None)
def test_float32_is_mined_as_the_reference_is(mining, seed, b, q, k, margin):
    a, p, labels, bank, bank_labels, _ = batch(seed, b, q, dtype=torch.float32)
    options = {
        "bank": bank,
        "bank_labels": bank_labels,
        "num_negatives": k,
        "margin": margin,
        "mining": mining,
    }
    tiled = khn(a, p, labels, **options)
    assert torch.allclose(tiled, khn(a, p, labels, **options, impl="reference"), atol=1e-4)


@pytest.mark.parametrize("form", ["triplet", "nce"])
@pytest.mark.parametrize("impl", BOTH)
def test_random_mining_draws_without_replacement_among_the_negatives(form, impl):
    k = 3
    a, p, labels, bank, bank_labels, _ = batch(5)
    negative = [
        negatives_of(
            i, labels.tolist(), [-1] * 7, bank_labels.tolist(), [-1] * 11, [1] * 7, [1] * 11
        )
        for i in range(7)
    ]
    options = {"bank_labels": bank_labels, "mining": "random", "num_negatives": k, "margin": 9.0}
    options |= {"positives": "pair", "form": form, "impl": impl}
    for seed in range(4):
        i = seed % 7
        only = torch.arange(7) == i
        # One anchor: all other batch rows are invalid, so its negatives are in the bank.
        legal = [n - 7 for n in negative[i] if n >= 7]
        touched = keys_that_matter(bank, lambda bank, only=only, seed=seed: khn(
            a, p, labels, bank=bank, valid=only, seed=seed, **options
        ))  # fmt: skip
        assert set(touched) <= set(legal)
        assert len(touched) == min(k, len(legal))


def test_random_mining_follows_its_seed():
    a, p, labels, bank, bank_labels, _ = batch(6, q=40)
    options = {
        "bank": bank,
        "bank_labels": bank_labels,
        "mining": "random",
        "margin": 3.0,
        "num_negatives": 2,
    }
    values = [khn(a, p, labels, seed=seed, **options) for seed in (0, 0, 1, 2)]
    assert values[0] == values[1]
    assert len({value.item() for value in values}) == 3
    assert values[0] == khn(a, p, labels, seed=torch.tensor(0), **options)
    assert torch.allclose(values[2], khn(a, p, labels, seed=1, impl="reference", **options))


def test_drawn_numbers_differ_and_are_spread_evenly():
    numbers = draw((64, 500), 3, torch.device("cpu"))
    assert numbers.unique().numel() == numbers.numel()
    shares = torch.bincount((numbers >> 29).flatten(), minlength=8) / numbers.numel()
    assert ((shares - 1 / 8).abs() < 0.01).all()
    assert not torch.equal(numbers, draw((64, 500), 4, torch.device("cpu")))


@given(st.lists(st.lists(st.floats(0, 4, width=32), min_size=3, max_size=3), min_size=1))
@settings(deadline=None)
def test_rows_sort_as_torch_sorts_them(rows):
    x = torch.tensor(rows, dtype=torch.float32).T.contiguous()
    x[0, 0] = torch.inf
    values, order = sort_rows(x)
    assert torch.equal(values, x.sort(dim=1).values)
    assert torch.equal(x.gather(1, order), values)


def test_a_known_value():
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    p = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Anchor 0: d_pos = 0, d_neg = 0.8. Anchor 1: d_pos = 3.2, d_neg = 4.
    value = khn(a, p, torch.tensor([0, 1]), margin=1.0)
    assert torch.allclose(value, torch.tensor(0.2))
    assert khn(a, p, torch.tensor([0, 1]), margin=0.7) == 0  # nothing is semi-hard
    nce = khn(a, p, torch.tensor([0, 1]), form="nce", temperature=1.0)
    expected = F.softplus(torch.tensor([0.6 - 1.0, -1.0 + 0.6])).mean()
    assert torch.allclose(nce, expected)


def test_the_true_pair_is_a_positive_of_every_anchor():
    """The pair (i, i) counts, for anchors beyond the first as well."""
    p = torch.eye(4, dtype=torch.float64)
    a = F.normalize(p.roll(1, 0) + 0.1 * p, dim=1).requires_grad_()
    for impl in BOTH:
        value = khn(a, p, torch.arange(4), mining="hard", num_negatives=1, margin=1.0, impl=impl)
        (gradient,) = torch.autograd.grad(value, a)
        assert (gradient.diagonal() < 0).all()  # each anchor is pulled towards its own key


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("form", ["triplet", "nce"])
@pytest.mark.parametrize("mining", [*MINED, "random"])
@pytest.mark.parametrize("case", ["one class", "one row", "nothing valid", "empty bank"])
def test_nothing_to_choose_is_exactly_zero(case, mining, form, impl):
    b = 1 if case == "one row" else 5
    a, p = (F.normalize(torch.randn(b, 3), dim=1).requires_grad_() for _ in range(2))
    options = {"mining": mining, "form": form, "impl": impl}
    if case == "nothing valid":
        options["valid"] = torch.zeros(b, dtype=torch.bool)
    if case == "empty bank":
        options |= {"bank": torch.zeros(4, 3), "bank_labels": torch.ones(4, dtype=torch.int64)}
        options["bank_valid"] = torch.zeros(4, dtype=torch.bool)
    labels = torch.arange(b) if case == "nothing valid" else torch.zeros(b, dtype=torch.int64)
    value = khn(a, p, labels, **options)
    value.backward()
    assert value == 0
    assert (a.grad == 0).all() and (p.grad == 0).all()


@pytest.mark.parametrize("impl", BOTH)
def test_a_semihard_value_of_zero_when_every_negative_is_nearer_or_far(impl):
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    value = khn(a, a.detach().flip(0), torch.tensor([0, 1]), impl=impl)  # d_pos = 2, d_neg = 0
    value.backward()
    assert value == 0 and (a.grad == 0).all()


@pytest.mark.parametrize("impl", BOTH)
def test_the_semihard_interval_is_open(impl):
    a = torch.tensor([[1.0, 0.0]])
    p = torch.tensor([[0.0, 1.0]])  # d_pos = 2
    as_far, just_out = torch.tensor([[0.0, -1.0]]), torch.tensor([[-1.0, 0.0]])  # 2 and 4
    options = {"bank_labels": torch.tensor([1]), "margin": 2.0, "impl": impl}
    assert khn(a, p, torch.tensor([0]), bank=as_far, **options) == 0
    assert khn(a, p, torch.tensor([0]), bank=just_out, **options) == 0
    inside = torch.tensor([[-0.6, 0.8]])  # 3.2
    options["bank_labels"] = torch.tensor([1, 1, 1])
    every = torch.cat([as_far, just_out, inside])
    value = khn(a, p, torch.tensor([0]), bank=every, **options)  # a mean over one, not three
    assert torch.allclose(value, torch.tensor(0.8))


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("form", ["triplet", "nce"])
def test_invalid_rows_may_hold_anything(form, impl):
    a, p, labels, bank, bank_labels, _ = batch(8)
    valid = torch.tensor([True, False, True, True, False, True, True])
    options = {"bank": bank, "bank_labels": bank_labels, "form": form, "impl": impl}
    expected = khn(a[valid], p[valid], labels[valid], **options)
    a, p = a.clone(), p.clone()
    a[~valid], p[~valid] = torch.nan, torch.inf
    value, grad_a, grad_p = with_gradients(khn, a, p, labels, valid=valid, **options)
    assert torch.allclose(value, expected)
    assert (grad_a[~valid] == 0).all() and (grad_p[~valid] == 0).all()
    assert grad_a.isfinite().all() and grad_p.isfinite().all()


def test_labels_of_minus_one_are_no_labels():
    a, p, _, bank, _, _ = batch(9)
    unlabelled, in_bank = torch.full((7,), -1), torch.full((11,), -1)
    for form in ("triplet", "nce"):
        with_labels = khn(a, p, unlabelled, bank=bank, bank_labels=in_bank, form=form)
        assert with_labels == khn(a, p, None, bank=bank, form=form)


def test_a_labelled_anchor_ignores_unlabelled_keys():
    a, p, *_ = batch(10, b=4)
    labels = torch.tensor([0, 1, -1, -1])
    bank, in_bank = p[2:], torch.full((2,), -1)
    p = p.clone().requires_grad_()
    alone = torch.tensor([True, False, False, False])
    assert khn(a, p, labels, bank=bank, bank_labels=in_bank, valid=alone, mining="hard") == 0


def test_keys_of_the_own_sample_are_no_negatives():
    a, p, _, bank, _, _ = batch(11, b=3, q=3)
    samples = torch.tensor([4, 5, 6])
    options = {
        "bank": bank,
        "bank_index": samples,
        "mining": "hard",
        "margin": 5.0,
        "num_negatives": 9,
    }
    only = torch.tensor([False, True, False])
    touched = keys_that_matter(
        options.pop("bank"),
        lambda bank: khn(a, p, None, bank=bank, index=samples, valid=only, **options),
    )
    assert touched == [0, 2]


@pytest.mark.parametrize("form", ["triplet", "nce"])
@pytest.mark.parametrize("mining", MINED)
def test_the_order_of_rows_does_not_matter(mining, form):
    a, p, labels, bank, bank_labels, g = batch(12, b=12, q=20)
    rows, slots = torch.randperm(12, generator=g), torch.randperm(20, generator=g)
    options = {"mining": mining, "form": form, "num_negatives": 3}
    before = khn(a, p, labels, bank=bank, bank_labels=bank_labels, **options)
    after = khn(
        a[rows], p[rows], labels[rows], bank=bank[slots], bank_labels=bank_labels[slots], **options
    )
    assert torch.allclose(before, after, atol=1e-12)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("mining", [*MINED, "random", "all"])
@pytest.mark.parametrize("form", ["triplet", "nce"])
def test_gradcheck(mining, form, impl):
    a, p, labels, bank, bank_labels, _ = batch(13, b=5, q=6)

    def value(a, p):
        options = {"bank_labels": bank_labels, "mining": mining, "form": form, "num_negatives": 2}
        a, p = F.normalize(a, dim=1), F.normalize(p, dim=1)
        return khn(a, p, labels, bank=bank, impl=impl, **options)

    inputs = [x.clone().requires_grad_() for x in (a, p)]
    assert torch.autograd.gradcheck(value, inputs)
    if impl == "reference":
        assert torch.autograd.gradgradcheck(value, inputs)


@pytest.mark.parametrize("impl", BOTH)
def test_the_bank_gets_no_gradient(impl):
    a, p, labels, bank, bank_labels, _ = batch(16)
    bank = bank.clone().requires_grad_()
    value = khn(a.requires_grad_(), p, labels, bank=bank, bank_labels=bank_labels, impl=impl)
    value.backward()
    assert a.grad.abs().sum() > 0
    assert bank.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_lifted(dtype):
    a, p, labels, bank, bank_labels, _ = batch(14)
    a, p, bank = a.to(dtype), p.to(dtype), bank.to(dtype)
    value = khn(a, p, labels, bank=bank, bank_labels=bank_labels)
    exact = khn(a.double(), p.double(), labels, bank=bank.double(), bank_labels=bank_labels)
    assert value.dtype == torch.float32
    assert torch.allclose(value.double(), exact, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = khn(a, p, labels, bank=bank, bank_labels=bank_labels)
    assert torch.equal(value, again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"impl": "triton"}, 'triton.*impl="tiled"'),
        ({"impl": "fast"}, "unknown impl 'fast'"),
        ({"mining": "easy"}, "unknown mining 'easy'"),
        ({"form": "pairs"}, "unknown form 'pairs'"),
        ({"positives": "all"}, "unknown positives 'all'"),
        ({"num_negatives": 0}, "num_negatives must be at least 1.*got num_negatives=0"),
        ({"margin": 0.0}, "margin and temperature above 0.*margin=0.0"),
        ({"margin": float("nan")}, "margin and temperature above 0.*margin=nan"),
        ({"bank": torch.zeros(3, 9)}, r"must hold keys \[Q, 4\]"),
        ({"bank": torch.zeros(3, 4)}, "given without bank_labels"),
        ({"keys": torch.zeros(2, 4)}, r"of one shape, got \[7, 4\] and \[2, 4\]"),
        ({"labels": torch.zeros(1).long()}, r"labels must have one entry for each of 7 rows"),
        ({"valid": torch.ones(1).bool()}, r"valid must have one entry for each of 7 rows"),
        ({"index": torch.zeros(8).long()}, r"index must have one entry for each of 7 rows"),
        ({"bank_index": torch.zeros(3).long()}, "bank_index was given without the rows"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    a, p, labels, *_ = batch(15)
    arguments = {"rows": a, "keys": p, "labels": labels, **change}
    with pytest.raises(ValueError, match=message):
        khn(**arguments)
