"""torch.compile without a graph break, and autocast."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.problems import EXACT, IMPLS, OPS, make, run

every_op = pytest.mark.parametrize("op", OPS)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("impl", ["auto", *IMPLS])
@every_op
def test_compiled(op, impl):
    problem = make(op, 9, 9, 4).to(torch.float32)
    eager = problem.kernel(impl)
    compiled = torch.compile(eager, fullgraph=True, backend="aot_eager")
    found, expected = run(compiled, problem.inputs), run(eager, problem.inputs)
    torch.testing.assert_close(found.all(), expected.all())


@every_op
def test_compiled_without_masks_labels_or_bank(op):
    problem = make(op, 9, 7, 4, labels=False, absent=0.0, extra=None).to(torch.float32)
    compiled = torch.compile(problem.kernel("tiled"), fullgraph=True, backend="aot_eager")
    found, expected = (run(f, problem.inputs) for f in (compiled, problem.kernel("tiled")))
    torch.testing.assert_close(found.all(), expected.all())


@pytest.mark.parametrize("impl", ["tiled", pytest.param("auto", marks=pytest.mark.slow)])
@every_op
def test_compiled_for_any_number_of_rows(op, impl):
    compiled = torch.compile(
        lambda problem, inputs: problem.kernel(impl)(*inputs),
        fullgraph=True, backend="aot_eager", dynamic=True,
    )  # fmt: skip
    for n, m in [(9, 9), (12, 12), (30, 30)]:
        problem = make(op, n, m, 4, labels=False, extra=None).to(torch.float32)
        found = run(lambda *inputs, problem=problem: compiled(problem, inputs), problem.inputs)
        expected = run(problem.kernel(impl), problem.inputs)
        torch.testing.assert_close(found.all(), expected.all())


# Inductor itself calls a function of PyTorch by its old name.
@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")
@pytest.mark.slow
@pytest.mark.parametrize("impl", ["reference", "tiled"])
@every_op
def test_compiled_by_inductor(op, impl):
    problem = make(op, 9, 9, 4).to(torch.float32)
    compiled = torch.compile(problem.kernel(impl), fullgraph=True)
    found, expected = (run(f, problem.inputs) for f in (compiled, problem.kernel(impl)))
    torch.testing.assert_close(found.all(), expected.all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("impl", EXACT)
@every_op
def test_autocast_changes_nothing(op, impl, dtype):
    problem = make(op, 9, 9, 4).to(torch.float32)
    kernel = problem.kernel(impl)
    found, expected = run(_mixed(kernel, dtype), problem.inputs), run(kernel, problem.inputs)
    torch.testing.assert_close(found.all(), expected.all(), rtol=0, atol=0)


@every_op
def test_compiled_under_autocast(op):
    problem = make(op, 9, 9, 4).to(torch.float32)
    kernel = problem.kernel("tiled")
    compiled = torch.compile(_mixed(kernel, torch.bfloat16), fullgraph=True, backend="aot_eager")
    found, expected = run(compiled, problem.inputs), run(kernel, problem.inputs)
    torch.testing.assert_close(found.all(), expected.all(), rtol=1e-5, atol=1e-6)


@every_op
def test_a_backward_pass_under_autocast(op):
    """PyTorch advises against it, but users do it."""
    problem = make(op, 9, 9, 4).to(torch.float32)
    expected = run(problem.kernel("tiled"), problem.inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(problem.kernel("tiled"), problem.inputs)
    torch.testing.assert_close(found.all(), expected.all(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("impl", EXACT)
@every_op
def test_rows_of_two_types(op, impl):
    """As when one encoder's rows are half precision under autocast and a bank holds float32."""
    problem = make(op, 9, 9, 4).to(torch.float32)
    a, k, *numbers = problem.inputs
    mixed = (a.bfloat16(), k, *numbers)
    found = run(problem.kernel(impl), mixed)
    expected = run(problem.kernel(impl), (a.bfloat16().float(), k, *numbers))
    assert found.gradients[0].dtype == torch.bfloat16
    torch.testing.assert_close(found.value, expected.value)
    torch.testing.assert_close(found.gradients[1], expected.gradients[1])


def _mixed(kernel, dtype: torch.dtype):
    def under_autocast(*inputs):
        with torch.autocast("cpu", dtype=dtype):
            return kernel(*inputs)

    return under_autocast
