"""The divergence of similarities against a loop over rows, in float64, on tiles of a few rows."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.losses.largest_tensor import LargestTensor
from xdistill.kernels import affinity_kl, affinity_operators, dispatch, tiled, tiled_affinity
from xdistill.kernels.dispatch import EXCLUDED

IMPLS = ("reference", "tiled")
ALLOWED = {torch.float64: 1e-10, torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
MODULE = sys.modules["xdistill.kernels.affinity_kl"]  # the package's attribute is the function


@pytest.fixture(autouse=True, scope="module")
def _small_tiles():
    """Several tiles, and several chunks of gathered keys, also for the small shapes of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled, "ROWS", 7)
        patch.setattr(tiled, "KEYS", 10)
        patch.setattr(tiled_affinity, "GATHERED", 200)
        yield


@dataclass(frozen=True)
class Problem:
    """Arguments of affinity_kl, tau as its inverse; `s_keys` None: the rows meet each other."""

    s: Tensor
    t: Tensor
    scale: Tensor
    s_keys: Tensor | None = None
    t_keys: Tensor | None = None
    teacher_tau: float | None = None
    valid: Tensor | None = None
    key_valid: Tensor | None = None
    neighbours: int | None = None

    def to(self, dtype):
        parts = {
            name: None if (x := getattr(self, name)) is None else x.to(dtype)
            for name in ("s", "t", "s_keys", "t_keys")
        }
        scale = self.scale.to(torch.promote_types(dtype, torch.float32))
        return replace(self, **parts, scale=scale)

    def leaves(self):
        """Copies of s, 1/tau and s_keys."""
        inputs = [x for x in (self.s, self.scale, self.s_keys) if x is not None]
        return [x.detach().clone().requires_grad_() for x in inputs]

    def run(self, function, **options):
        """The value, and the gradients of its leaves."""
        leaves = self.leaves()
        value = self.value(function, *leaves, **options)
        return [value.detach(), *torch.autograd.grad(value, leaves)]

    def value(self, function, s, scale, s_keys=None, **options):
        rest = {
            name: getattr(self, name)
            for name in ("t_keys", "teacher_tau", "valid", "key_valid", "neighbours")
        }
        return function(s, self.t, 1 / scale, s_keys=s_keys, **rest, **options)


def problem(
    form, n, m, d, e, *, tau=0.1, teacher_tau=0.15, masked=True, seed=0, neighbours=3
) -> Problem:
    """Unit rows in float64. form: "self", "keys" or "neighbours"."""
    if form == "neighbours":
        e = max(e, 8)  # narrow rows in half precision tie: which keys are nearest is then open
    g = torch.Generator().manual_seed(seed)

    def unit(rows, width):
        return normalize(torch.randn(rows, width, generator=g, dtype=torch.float64), dim=1)

    def mask(rows):
        return torch.rand(rows, generator=g) < 0.8 if masked else None

    made = Problem(unit(n, d), unit(n, e), torch.tensor(1 / tau).double(), teacher_tau=teacher_tau)
    made = replace(made, valid=mask(n))
    if form == "keys":
        return replace(made, s_keys=unit(m, d), t_keys=unit(m, e), key_valid=mask(m))
    return replace(made, neighbours=neighbours if form == "neighbours" else None)


def slow(
    s, t, tau, *, teacher_tau=None, s_keys=None, t_keys=None, valid=None, key_valid=None,
    neighbours=None,
):  # fmt: skip
    """The definition, row after row."""
    alone = s_keys is None
    if alone:
        s_keys, t_keys, key_valid = s, t, valid
    teacher_tau = tau.detach() if teacher_tau is None else teacher_tau
    rows = [i for i in range(len(s)) if valid is None or valid[i]]
    there = [j for j in range(len(s_keys)) if key_valid is None or key_valid[j]]
    total = 0 * tau + 0 * s[:0].sum() + 0 * s_keys[:0].sum()
    for i in rows:
        met = [j for j in there if not (alone and j == i)]
        if not met:
            continue
        target = t_keys[met] @ t[i] / teacher_tau
        if neighbours is not None:
            nearest = target.sort(descending=True).indices[:neighbours].tolist()
            met, target = [met[at] for at in nearest], target[nearest]
        log_p, log_q = target.log_softmax(0), (s_keys[met] @ s[i] / tau).log_softmax(0)
        total = total + (log_p.exp() * (log_p - log_q)).sum()
    return total / max(len(rows), 1)


def check(made: Problem, dtype=torch.float64, impls=IMPLS) -> None:
    """|kernel − exact| ≤ |plain PyTorch in that type − exact| + the type's allowance.

    The allowance is relative to the largest entry, and never more than that of an entry of 1.
    Entries of a gradient that cancel are measured by 1 / number of rows, a value by 1.
    """
    rounded = made.to(dtype)
    exact = rounded.to(torch.float64).run(slow)
    plain = rounded.run(slow)
    for impl in impls:
        found = rounded.run(affinity_kl, impl=impl)
        assert found[0].dtype == torch.promote_types(dtype, torch.float32)
        assert found[1].dtype == dtype
        for part, (ours, true, usual) in enumerate(zip(found, exact, plain, strict=True)):
            assert ours.isfinite().all(), (impl, part)
            if not true.numel():
                continue
            least = 1.0 if true.ndim == 0 else 1 / len(made.s)
            allowed = ALLOWED[dtype] * true.abs().max().clamp(least, 1.0)
            error, bound = (ours.double() - true).abs().max(), (usual.double() - true).abs().max()
            assert error <= bound + allowed, (impl, part, float(error), float(bound))


SHAPES = [
    (1, 1, 1, 3),
    (1, 17, 3, 1),
    (3, 1, 17, 64),
    (17, 3, 65, 17),
    (64, 65, 3, 100),
    (65, 100, 1, 17),
    (100, 64, 17, 3),
    (257, 17, 64, 1),
    (17, 257, 100, 65),
    (3, 65, 257, 257),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_loop_over_rows(shape, form, dtype):
    # Scores of up to 1/0.02 need the running maximum, those of up to 1/0.1 do not.
    for tau, teacher_tau, masked in [(0.1, None, False), (0.02, 0.15, True)]:
        check(problem(form, *shape, tau=tau, teacher_tau=teacher_tau, masked=masked), dtype)


@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_wide_rows(form):
    check(problem(form, 17, 20, 768, 512), torch.float32)


@settings(max_examples=60)
@given(data=st.data())
def test_any_shape_and_any_mask(data):
    n, m, d, e = (data.draw(st.integers(1, 23)) for _ in range(4))
    form = data.draw(st.sampled_from(["self", "keys", "neighbours"]))
    made = problem(
        form, n, m, d, e, masked=False, seed=data.draw(st.integers(0, 99)),
        tau=data.draw(st.sampled_from([0.01, 0.1, 2.0])),
        teacher_tau=data.draw(st.sampled_from([None, 0.01, 1.0])),
        neighbours=data.draw(st.integers(1, 25)),
    )  # fmt: skip

    def mask(rows):
        drawn = data.draw(st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows))
        return None if drawn is None else torch.tensor(drawn)

    check(replace(made, valid=mask(n), key_valid=mask(m) if form == "keys" else None))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_gradcheck(form, impl):
    made = problem(form, 9, 12, 3, 2, tau=0.3)
    assert torch.autograd.gradcheck(
        lambda *leaves: made.value(affinity_kl, *leaves, impl=impl), made.leaves()
    )


@pytest.mark.parametrize("tau", [0.1, 1e-3])
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_all_rows_equal(form, tau):
    made = problem(form, 12, 11, 4, 3, tau=tau, teacher_tau=tau, masked=False)
    same = {name: getattr(made, name)[:1].repeat(12, 1) for name in ("s", "t")}
    if form == "keys":
        same |= {"s_keys": same["s"], "t_keys": same["t"]}
    # Ties may go to any key: the student's scores tie too, so that the value is 0 for each choice.
    for impl in IMPLS:
        value, *gradients = replace(made, **same).run(affinity_kl, impl=impl)
        assert value.abs() < 1e-12
        assert all(gradient.abs().max() < 1e-9 for gradient in gradients)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_equal_similarities_are_no_divergence(form, impl):
    made = problem(form, 12, 11, 8, 8, teacher_tau=None)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    keys = None if made.t_keys is None else made.t_keys @ turn
    value, *gradients = replace(made, s=made.t @ turn, s_keys=keys).run(affinity_kl, impl=impl)
    assert value.abs() < 1e-12
    assert all(gradient.abs().max() < 1e-10 for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    "case", ["one row", "one valid", "none valid", "no key valid", "no key", "no row"]
)
def test_without_an_edge_it_is_exactly_zero(case, impl, dtype):
    cases = [problem("self", 9, 0, 4, 3), problem("neighbours", 9, 0, 4, 3)]
    if case in ("no key valid", "no key"):
        cases = [problem("keys", 9, 0 if case == "no key" else 11, 4, 3)]
    if case in ("one row", "no row"):
        rows = 1 if case == "one row" else 0
        cases = [problem(form, rows, 0, 4, 3, masked=False) for form in ("self", "neighbours")]
    if case == "no row":
        cases.append(problem("keys", 0, 5, 4, 3, masked=False))
    for tau in (0.1, 1e-3):
        for made in cases:
            if case in ("one valid", "none valid"):
                made = replace(made, valid=torch.arange(9) == (4 if case == "one valid" else 9))
            if case == "no key valid":
                made = replace(made, key_valid=torch.zeros(11, dtype=torch.bool))
            made = replace(made, scale=torch.tensor(1 / tau)).to(dtype)
            for part in made.run(affinity_kl, impl=impl):
                assert (part == 0).all()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_what_does_not_count_may_hold_anything(form, impl):
    made = problem(form, 23, 19, 4, 3)
    expected = made.run(affinity_kl, impl=impl)
    masks = {"s": made.valid, "t": made.valid, "s_keys": made.key_valid, "t_keys": made.key_valid}
    dirty = {}
    for name, mask in masks.items():
        if mask is not None:
            dirty[name] = getattr(made, name).clone()
            dirty[name][~mask] = torch.nan if name[0] == "s" else torch.inf
    value, *gradients = replace(made, **dirty).run(affinity_kl, impl=impl)
    for ours, theirs in zip([value, *gradients], expected, strict=True):
        assert torch.equal(ours, theirs)
    assert (gradients[0][~made.valid] == 0).all()
    if form == "keys":
        assert (gradients[2][~made.key_valid] == 0).all()


@pytest.mark.parametrize("tau", [0.1, 0.01])
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_memory_that_comes_full_of_nan(form, tau, monkeypatch):
    made = problem(form, 23, 19, 4, 3, tau=tau)
    expected = made.run(affinity_kl, impl="tiled")
    filled = []

    def poisoned(function):
        def fill(*args, **options):
            tensor = function(*args, **options)
            filled.append(tensor)
            return tensor.fill_(torch.nan if tensor.is_floating_point() else 10**9)

        return fill

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poisoned(getattr(torch, name)))
    found = made.run(affinity_kl, impl="tiled")
    monkeypatch.undo()
    assert filled
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_two_runs_agree_bit_for_bit(form, impl):
    made = problem(form, 100, 80, 5, 3, tau=0.02).to(torch.float32)
    first, second = made.run(affinity_kl, impl=impl), made.run(affinity_kl, impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("impl", IMPLS)
def test_the_teacher_is_a_constant(impl):
    for form in ("self", "keys", "neighbours"):
        made = problem(form, 9, 8, 4, 3, masked=False, teacher_tau=None)
        teacher = {"t": made.t} if form != "keys" else {"t": made.t, "t_keys": made.t_keys}
        for tensor in teacher.values():
            tensor.requires_grad_()
        made.s.requires_grad_()
        made.value(affinity_kl, made.s, made.scale, made.s_keys, impl=impl).backward()
        assert made.s.grad.any()
        assert all(tensor.grad is None for tensor in teacher.values())


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_gradients_for_one_side_alone(form, impl):
    """Rows or keys that need none get none, and the other side's stays the same."""
    made = problem(form, 23, 19, 4, 3)
    value, of_s, _, *of_keys = made.run(affinity_kl, impl=impl)
    leaf = made.s.clone().requires_grad_()
    only_s = made.value(affinity_kl, leaf, made.scale, made.s_keys, impl=impl)
    torch.testing.assert_close(only_s.detach(), value)
    torch.testing.assert_close(torch.autograd.grad(only_s, leaf)[0], of_s)
    if form == "keys":
        leaf = made.s_keys.clone().requires_grad_()
        only_keys = made.value(affinity_kl, made.s, made.scale, leaf, impl=impl)
        torch.testing.assert_close(torch.autograd.grad(only_keys, leaf)[0], of_keys[0])


def test_neighbours_as_many_as_keys_are_all():
    made = problem("neighbours", 12, 0, 4, 3, neighbours=12)
    for neighbours in (12, 500):
        found = replace(made, neighbours=neighbours).run(affinity_kl, impl="tiled")
        expected = replace(made, neighbours=None).run(affinity_kl, impl="tiled")
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("impl", IMPLS)
def test_neighbours_among_keys(impl):
    for count in (1, 4, 15):
        check(replace(problem("keys", 13, 17, 4, 3), neighbours=count), impls=[impl])


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
        place, found = affinity_operators.nearest_keys(tx, tk, mask, own, count)
        assert torch.equal(found, exists)
        assert torch.equal(place[found], ordered.indices[:, :count][exists])
        assert ((place >= 0) & (place < 40)).all()


@pytest.mark.parametrize("tau", [0.2, 0.01])
@pytest.mark.parametrize("own", [None, 0, 4, -3])
@pytest.mark.parametrize("masked", [False, True])
def test_statistics_of_a_pass(own, masked, tau):
    made = problem("keys", 13, 17, 4, 3, tau=tau)
    x, k, tx, tk = made.s / tau, made.s_keys, made.t / tau, made.t_keys
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


@pytest.mark.parametrize("tau", [0.2, 0.01])
def test_a_row_without_candidates_in_a_pass(tau):
    """Its statistics are the agreed ones, and whatever comes back to them goes nowhere."""
    x, k = torch.randn(1, 3) / tau, torch.randn(1, 3)
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
    keys, teacher_keys = (made.s, made.t) if form != "keys" else (made.s_keys, made.t_keys)
    x, tx, up = made.s / 0.1, made.t / 0.1, torch.ones(n).double()
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
    x, k, up = made.s.requires_grad_(), made.s_keys.requires_grad_(), torch.randn(13)
    bare, teacher = (x.detach(), k.detach()), (made.t, made.t_keys)
    for valid, own in [(None, None), (made.key_valid, 0)]:
        shared = *teacher, valid, own
        yield affinity_operators.affinity_stats, (x, k, *shared, "tiled")
        lse, target_lse, _ = affinity_operators.affinity_stats(*bare, *shared, "tiled")
        for need in [(True, True), (True, False), (False, True)]:
            saved = lse, target_lse, up, up
            arguments = *bare, *shared, *saved, *need, "tiled"
            yield affinity_operators.affinity_stats_backward, arguments
        yield affinity_operators.nearest_keys, (*teacher, valid, own, 4)
    place, _ = affinity_operators.nearest_keys(*teacher, None, 0, 4)
    yield affinity_operators.edge_scores, (x, k, place)
    for need in [(True, True), (True, False), (False, True)]:
        arguments = *bare, place, torch.randn(13, 4), *need
        yield affinity_operators.edge_scores_backward, arguments


# opcheck itself reads the gradient of a copy that it made of a leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_operators_pass_opcheck():
    for operator, arguments in operator_calls():
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_compiles_in_one_graph(form, impl):
    made = problem(form, 13, 11, 4, 3).to(torch.float32)
    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(*leaves):
        return made.value(affinity_kl, *leaves, impl=impl)

    leaves, expected = made.leaves(), made.run(affinity_kl, impl=impl)
    value = compiled(*leaves)
    found = [value.detach(), *torch.autograd.grad(value, leaves)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_a_second_derivative_is_right_or_an_error(form):
    made = problem(form, 6, 5, 3, 2, tau=0.5, neighbours=2)
    leaf = made.s.requires_grad_()

    def value(s, impl):
        return made.value(affinity_kl, s, 2.0, made.s_keys, impl=impl)

    assert torch.autograd.gradgradcheck(lambda s: value(s, "reference"), leaf)
    (gradient,) = torch.autograd.grad(value(leaf, "tiled"), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match='no second derivative.*impl="reference"'):
        gradient.sum().backward()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype, impl):
    for form in ("self", "keys", "neighbours"):
        made = problem(form, 13, 11, 4, 3).to(torch.float32)
        leaves = [made.s.clone().requires_grad_() for _ in range(2)]
        expected = made.value(affinity_kl, leaves[0], made.scale, made.s_keys, impl=impl)
        with torch.autocast("cpu", dtype=dtype):
            found = made.value(affinity_kl, leaves[1], made.scale, made.s_keys, impl=impl)
        assert torch.equal(found, expected)
        (found + expected).backward()
        assert torch.equal(leaves[0].grad, leaves[1].grad)


def test_mixed_types_meet_in_the_wider_one():
    made = problem("self", 13, 0, 4, 3).to(torch.bfloat16)
    mixed = replace(made, t=made.t.float())
    for impl in IMPLS:
        value, gradient, _ = mixed.run(affinity_kl, impl=impl)
        assert value.dtype == torch.float32 and gradient.dtype == torch.bfloat16
        torch.testing.assert_close(value, made.run(affinity_kl, impl=impl)[0])


@pytest.mark.parametrize("neighbours", [None, 3])
def test_auto_takes_the_dense_matrix_while_it_is_small(neighbours, monkeypatch):
    made = replace(problem("keys", 13, 11, 4, 3), neighbours=neighbours)
    calls = []
    module = importlib.import_module("xdistill.kernels.reference_affinity")
    dense = module.affinity_kl
    monkeypatch.setattr(module, "affinity_kl", lambda *args: calls.append(1) or dense(*args))
    for smallest, expected in [(13 * 11 + 1, 1), (13 * 11, 0)]:
        calls.clear()
        monkeypatch.setattr(dispatch, "SMALLEST_TILED", smallest)
        found = made.run(affinity_kl)
        assert len(calls) == expected
        same = made.run(affinity_kl, impl="reference" if expected else "tiled")
        assert all(torch.equal(a, b) for a, b in zip(found, same, strict=True))


def test_neighbours_are_tiled_where_everything_else_is_triton(monkeypatch):
    """As on a GPU, where "auto" means Triton."""
    made = problem("neighbours", 13, 0, 4, 3)
    expected = made.run(affinity_kl, impl="tiled")
    monkeypatch.setattr(MODULE, "choose", lambda *args: "triton")
    assert all(
        torch.equal(a, b) for a, b in zip(made.run(affinity_kl), expected, strict=True)
    )  # fmt: skip
    with pytest.raises(ValueError, match="has no neighbours, got neighbours=3; take impl="):
        made.run(affinity_kl, impl="triton")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": torch.ones(5, 3)}, r"row i of both one sample, got \[6, 4\] and \[5, 3\]"),
        ({"s": torch.ones(6)}, r"must be \[N, D\] and \[N, E\].*got \[6\]"),
        ({"s_keys": torch.ones(7, 4)}, "keys are needed on both sides.*t_keys is missing"),
        ({"t_keys": torch.ones(7, 3)}, "s_keys is missing"),
        (
            {"s_keys": torch.ones(7, 4), "t_keys": torch.ones(8, 3)},
            "key j of student and teacher is one sample, got 7 and 8",
        ),
        (
            {"s_keys": torch.ones(7, 3), "t_keys": torch.ones(7, 3)},
            r"of one width, got \[6, 4\] and \[7, 3\]",
        ),
        (
            {"s_keys": torch.ones(7, 4), "t_keys": torch.ones(7, 4)},
            r"of one width, got \[6, 3\] and \[7, 4\]",
        ),
        ({"key_valid": torch.ones(6).bool()}, "key_valid was given without keys"),
        ({"valid": torch.ones(5).bool()}, "valid must have one entry for each of 6 rows"),
        ({"tau": 0.0}, "must be above 0, got tau=0.0"),
        ({"teacher_tau": -1.0}, "must be above 0, got teacher_tau=-1.0"),
        ({"neighbours": 0}, "neighbours must be at least 1, or None for all keys, got 0"),
        ({"impl": "dense"}, "affinity_kl: unknown impl 'dense'; choose one of"),
    ],
)
def test_errors_say_what_came(change, message):
    arguments = {"s": torch.ones(6, 4), "t": torch.ones(6, 3), "tau": 0.1}
    with pytest.raises(ValueError, match=message):
        affinity_kl(**{**arguments, **change})
