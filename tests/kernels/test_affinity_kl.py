"""The divergence of similarities against a loop over rows, in float64, on tiles of a few rows."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.affinity_problems import IMPLS, check, problem, small_tiles
from xdistill.kernels import affinity_kl, dispatch

MODULE = sys.modules["xdistill.kernels.affinity_kl"]  # the package's attribute is the function


@pytest.fixture(autouse=True, scope="module")
def _small_tiles():
    with small_tiles():
        yield


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
    for temperature, teacher_temperature, masked in [(0.1, None, False), (0.02, 0.15, True)]:
        check(
            problem(
                form,
                *shape,
                temperature=temperature,
                teacher_temperature=teacher_temperature,
                masked=masked,
            ),
            dtype,
        )


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
        temperature=data.draw(st.sampled_from([0.01, 0.1, 2.0])),
        teacher_temperature=data.draw(st.sampled_from([None, 0.01, 1.0])),
        neighbours=data.draw(st.integers(1, 25)),
    )  # fmt: skip

    def mask(rows):
        drawn = data.draw(st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows))
        return None if drawn is None else torch.tensor(drawn)

    check(replace(made, valid=mask(n), key_valid=mask(m) if form == "keys" else None))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_gradcheck(form, impl):
    made = problem(form, 9, 12, 3, 2, temperature=0.3)
    assert torch.autograd.gradcheck(
        lambda *leaves: made.value(affinity_kl, *leaves, impl=impl), made.leaves()
    )


@pytest.mark.parametrize("temperature", [0.1, 1e-3])
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_all_rows_equal(form, temperature):
    made = problem(
        form, 12, 11, 4, 3, temperature=temperature, teacher_temperature=temperature, masked=False
    )
    same = {
        name: getattr(made, name)[:1].repeat(12, 1) for name in ("student_rows", "teacher_rows")
    }
    if form == "keys":
        same |= {"student_keys": same["student_rows"], "teacher_keys": same["teacher_rows"]}
    # Ties may go to any key: the student's scores tie too, so that the value is 0 for each choice.
    for impl in IMPLS:
        value, *gradients = replace(made, **same).run(affinity_kl, impl=impl)
        assert value.abs() < 1e-12
        assert all(gradient.abs().max() < 1e-9 for gradient in gradients)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_equal_similarities_are_no_divergence(form, impl):
    made = problem(form, 12, 11, 8, 8, teacher_temperature=None)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    keys = None if made.teacher_keys is None else made.teacher_keys @ turn
    value, *gradients = replace(made, student_rows=made.teacher_rows @ turn, student_keys=keys).run(
        affinity_kl, impl=impl
    )
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
    for temperature in (0.1, 1e-3):
        for made in cases:
            if case in ("one valid", "none valid"):
                made = replace(made, valid=torch.arange(9) == (4 if case == "one valid" else 9))
            if case == "no key valid":
                made = replace(made, key_valid=torch.zeros(11, dtype=torch.bool))
            made = replace(made, scale=torch.tensor(1 / temperature)).to(dtype)
            for part in made.run(affinity_kl, impl=impl):
                assert (part == 0).all()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_what_does_not_count_may_hold_anything(form, impl):
    made = problem(form, 23, 19, 4, 3)
    expected = made.run(affinity_kl, impl=impl)
    masks = {
        "student_rows": made.valid,
        "teacher_rows": made.valid,
        "student_keys": made.key_valid,
        "teacher_keys": made.key_valid,
    }
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


@pytest.mark.parametrize("temperature", [0.1, 0.01])
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_memory_that_comes_full_of_nan(form, temperature, monkeypatch):
    made = problem(form, 23, 19, 4, 3, temperature=temperature)
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
    made = problem(form, 100, 80, 5, 3, temperature=0.02).to(torch.float32)
    first, second = made.run(affinity_kl, impl=impl), made.run(affinity_kl, impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("impl", IMPLS)
def test_the_teacher_is_a_constant(impl):
    for form in ("self", "keys", "neighbours"):
        made = problem(form, 9, 8, 4, 3, masked=False, teacher_temperature=None)
        teacher = (
            {"teacher_rows": made.teacher_rows}
            if form != "keys"
            else {"teacher_rows": made.teacher_rows, "teacher_keys": made.teacher_keys}
        )
        for tensor in teacher.values():
            tensor.requires_grad_()
        made.student_rows.requires_grad_()
        made.value(
            affinity_kl, made.student_rows, made.scale, made.student_keys, impl=impl
        ).backward()
        assert made.student_rows.grad.any()
        assert all(tensor.grad is None for tensor in teacher.values())


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("form", ["self", "keys", "neighbours"])
def test_gradients_for_one_side_alone(form, impl):
    """Rows or keys that need no gradient get none, and the gradient of the others is the same."""
    made = problem(form, 23, 19, 4, 3)
    value, of_s, _, *of_keys = made.run(affinity_kl, impl=impl)
    leaf = made.student_rows.clone().requires_grad_()
    only_s = made.value(affinity_kl, leaf, made.scale, made.student_keys, impl=impl)
    torch.testing.assert_close(only_s.detach(), value)
    torch.testing.assert_close(torch.autograd.grad(only_s, leaf)[0], of_s)
    if form == "keys":
        leaf = made.student_keys.clone().requires_grad_()
        only_keys = made.value(affinity_kl, made.student_rows, made.scale, leaf, impl=impl)
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
    made = problem(form, 6, 5, 3, 2, temperature=0.5, neighbours=2)
    leaf = made.student_rows.requires_grad_()

    def value(s, impl):
        return made.value(affinity_kl, s, 2.0, made.student_keys, impl=impl)

    assert torch.autograd.gradgradcheck(lambda s: value(s, "reference"), leaf)
    (gradient,) = torch.autograd.grad(value(leaf, "tiled"), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match='no second derivative.*impl="reference"'):
        gradient.sum().backward()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype, impl):
    for form in ("self", "keys", "neighbours"):
        made = problem(form, 13, 11, 4, 3).to(torch.float32)
        leaves = [made.student_rows.clone().requires_grad_() for _ in range(2)]
        expected = made.value(affinity_kl, leaves[0], made.scale, made.student_keys, impl=impl)
        with torch.autocast("cpu", dtype=dtype):
            found = made.value(affinity_kl, leaves[1], made.scale, made.student_keys, impl=impl)
        assert torch.equal(found, expected)
        (found + expected).backward()
        assert torch.equal(leaves[0].grad, leaves[1].grad)


def test_mixed_types_meet_in_the_wider_one():
    made = problem("self", 13, 0, 4, 3).to(torch.bfloat16)
    mixed = replace(made, teacher_rows=made.teacher_rows.float())
    for impl in IMPLS:
        value, gradient, _ = mixed.run(affinity_kl, impl=impl)
        assert value.dtype == torch.float32 and gradient.dtype == torch.bfloat16
        torch.testing.assert_close(value, made.run(affinity_kl, impl=impl)[0])


@pytest.mark.parametrize("neighbours", [None, 3])
def test_auto_takes_the_reference_while_the_matrix_is_small(neighbours, monkeypatch):
    made = replace(problem("keys", 13, 11, 4, 3), neighbours=neighbours)
    calls = []
    module = importlib.import_module("xdistill.kernels.reference.affinity")
    reference = module.affinity_kl
    monkeypatch.setattr(module, "affinity_kl", lambda *args: calls.append(1) or reference(*args))
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
        (
            {"teacher_rows": torch.ones(5, 3)},
            r"row i of both one sample, got \[6, 4\] and \[5, 3\]",
        ),
        ({"student_rows": torch.ones(6)}, r"must be \[N, D\] and \[N, E\].*got \[6\]"),
        (
            {"student_keys": torch.ones(7, 4)},
            "keys are needed on both sides.*teacher_keys is missing",
        ),
        ({"teacher_keys": torch.ones(7, 3)}, "student_keys is missing"),
        (
            {"student_keys": torch.ones(7, 4), "teacher_keys": torch.ones(8, 3)},
            "key j of student and teacher is one sample, got 7 and 8",
        ),
        (
            {"student_keys": torch.ones(7, 3), "teacher_keys": torch.ones(7, 3)},
            r"of one width, got \[6, 4\] and \[7, 3\]",
        ),
        (
            {"student_keys": torch.ones(7, 4), "teacher_keys": torch.ones(7, 4)},
            r"of one width, got \[6, 3\] and \[7, 4\]",
        ),
        ({"key_valid": torch.ones(6).bool()}, "key_valid was given without keys"),
        ({"valid": torch.ones(5).bool()}, "valid must have one entry for each of 6 rows"),
        ({"temperature": 0.0}, "must be above 0, got temperature=0.0"),
        ({"teacher_temperature": -1.0}, "must be above 0, got teacher_temperature=-1.0"),
        ({"neighbours": 0}, "neighbours must be at least 1, or None for all keys, got 0"),
        ({"impl": "dense"}, "affinity_kl: unknown impl 'dense'; choose one of"),
    ],
)
def test_errors_say_what_came(change, message):
    arguments = {
        "student_rows": torch.ones(6, 4),
        "teacher_rows": torch.ones(6, 3),
        "temperature": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        affinity_kl(**{**arguments, **change})
