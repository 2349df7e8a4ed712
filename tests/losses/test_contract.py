"""What every registered loss must do. A new loss is tested here without being named."""

from __future__ import annotations

import copy
import inspect
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import xdistill.losses
from tests.losses.batches import (
    CLASSES,
    SAMPLES,
    STUDENT_HIDDEN,
    TEACHER_HIDDEN,
    bound_loss,
    fitting,
    random_batch,
    step,
)
from tests.losses.contract_cases import (
    CASES,
    scaled,
)
from tests.losses.largest_tensor import LargestTensor
from xdistill.losses.parts.loss import Loss
from xdistill.registry import create_loss, list_losses, losses
from xdistill.types import Outputs, Spec

NAMES = list_losses()
# These look neither at the teacher nor at `valid`.
TASK_LOSSES = {name for name in NAMES if losses.get(name).task}
# A bank of keys may be larger than the batch's pairs; here it is not, so that it hides nothing.
SHORT_MEMORY = {"khn": {"bank_size": 256}, "sacd": {"bank_size": 256}}
BELOW_ZERO = {"mine", "srd", "vid", "wcord"}  # these have no lower bound of zero

every_loss = pytest.mark.parametrize("name", NAMES)
teacher_loss = pytest.mark.parametrize("name", [n for n in NAMES if n not in TASK_LOSSES])


def test_every_file_of_the_folder_is_named_as_the_loss_that_it_registers():
    """A loss that `losses/__init__.py` does not import would be missing from all lists."""
    files = Path(xdistill.losses.__file__).parent.glob("[!_]*.py")
    assert {file.stem for file in files} == set(NAMES)


@every_loss
def test_what_a_task_loss_is(name):
    """`task` says that the value depends on neither the teacher nor `valid`."""
    batch = random_batch().change(target=torch.tensor([0, 1, -1, -1, 2, 1]))
    other = batch.change(
        teacher=random_batch(seed=5).teacher,
        valid=torch.tensor([True, False, True, False, True, True]),
    )
    same = torch.equal(step(bound_loss(name), batch).value, step(bound_loss(name), other).value)
    assert same == losses.get(name).task


@every_loss
def test_it_is_a_loss_under_its_own_name(name):
    kind = losses.get(name)
    assert issubclass(kind, Loss)
    assert kind.name == name
    assert kind.recommended_weight > 0
    assert kind.formula
    assert kind.paper or name in TASK_LOSSES
    assert not set(kind.needs) & set(kind.uses)
    assert create_loss(name).label == name


@every_loss
def test_its_repr_shows_every_option_and_makes_it_again(name):
    loss = create_loss(name)
    known = {key: one.default for key, one in inspect.signature(type(loss)).parameters.items()}
    left_out = {
        "student_dim",
        "teacher_dim",
        "classifier",
        "margins",
        "cost",
    }  # widths, module, tensors
    assert known.keys() - left_out <= loss.options.keys() <= known.keys()
    for option, value in loss.options.items():
        assert value == known[option] or (option, value) == ("structure_space", "raw")
    again = type(loss)(**loss.options)
    assert again.options == loss.options and repr(again) == repr(loss)
    for option, value in loss.options.items():
        assert f"{option}={value!r}" in repr(loss)


def test_the_repr_of_a_sum_shows_the_options_of_its_parts():
    loss = xdistill.losses.CrossEntropy() + 2 * xdistill.losses.SACD(bank_size=0, dim=None)
    assert "weights=[1.0, 2.0]" in repr(loss) and "bank_size=0" in repr(loss)
    bound = loss.bind(Spec(4), Spec(6), 3)
    assert "bank_size=0" in repr(bound) and "(student_projector)" in repr(bound)


@every_loss
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_finite(name, case):
    """In evaluation, at the first step, and once more when a memory holds that step."""
    loss = bound_loss(name)
    for training in (False, True, True):
        loss.train(training)
        result = step(loss, CASES[case](random_batch()))
        assert result.value.shape == ()
        assert result.value >= -1e-6 or name in BELOW_ZERO
        for part, tensor in result.tensors().items():
            assert torch.isfinite(tensor).all(), part


@every_loss
@pytest.mark.parametrize(
    "case", ["zero embeddings", "saturated logits", "some missing", "none present"]
)
def test_no_nan_hides_behind_a_mask(name, case):
    """Anomaly detection, which users turn on to find their own mistakes, finds none of ours."""
    torch.autograd.set_detect_anomaly(True)
    try:
        step(bound_loss(name), CASES[case](random_batch()))
    finally:
        torch.autograd.set_detect_anomaly(False)


@every_loss
def test_without_target(name):
    loss = bound_loss(name)
    batch = random_batch().change(target=None)
    if "labels" in losses.get(name).needs:
        with pytest.raises(ValueError, match="needs target"):
            step(loss, batch)
    else:
        assert all(torch.isfinite(tensor).all() for tensor in step(loss, batch).tensors().values())


@every_loss
def test_what_it_needs_it_asks_for(name):
    """Without logits, or without hidden layers, there is an error that says so, or no need."""
    kind, batch = losses.get(name), random_batch()
    for part, bare in (("logits", {"logits": None}), ("hidden", {"hidden": {}})):
        loss = bound_loss(name)
        poor = batch.change(
            student=replace(batch.student, **bare), teacher=replace(batch.teacher, **bare)
        )
        if part in kind.needs:
            with pytest.raises(ValueError, match=part):
                step(loss, poor)
        else:
            assert torch.isfinite(step(loss, poor).value)
    if "index" in kind.needs:
        with pytest.raises(ValueError, match="needs index"):
            step(bound_loss(name), batch.change(index=None))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(name, dtype):
    """Encoders run in half precision; the loss does not."""
    torch.manual_seed(0)
    encoder, head = nn.Linear(4, 8), nn.Linear(8, 3)
    x, batch = torch.randn(6, 4), fitting(create_loss(name), random_batch())
    shapes = STUDENT_HIDDEN.items()
    maps = {name: (nn.Linear(8, math.prod(shape)), shape) for name, shape in shapes}

    def run(precision: torch.dtype | None):
        loss = bound_loss(name)
        torch.manual_seed(3)
        encoder.zero_grad()
        enabled = precision is not None
        with torch.autocast("cpu", dtype=precision or torch.bfloat16, enabled=enabled):
            embedding = encoder(x)
            hidden = {name: map(embedding).unflatten(1, s) for name, (map, s) in maps.items()}
            student = Outputs(embedding, head(embedding), hidden)
            student = fitting(loss, batch.change(student=student)).student
            assert student.embedding.dtype == (precision or torch.float32)
            teacher = batch.teacher.map(lambda tensor: tensor.to(precision or torch.float32))
            value = loss(student, teacher, batch.target, index=batch.index)
        value.backward()
        return value.detach(), encoder.weight.grad

    value, gradient = run(dtype)
    exact, _ = run(None)
    assert value.dtype == torch.float32
    assert torch.isfinite(gradient).all()
    # Eight bits of mantissa in the inputs; temperatures of 0.07 multiply that error by 14.
    torch.testing.assert_close(value, exact, rtol=0.2, atol=0.05)


@every_loss
def test_state_dict_round_trip(name):
    """Two steps, save, load into another, and the third step is the same."""
    loss = bound_loss(name, teacher_dim=5)
    for seed in (1, 2):
        step(loss, random_batch(teacher_dim=5, seed=seed))
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    other = bound_loss(name, teacher_dim=5, seed=99)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    batch = random_batch(teacher_dim=5, seed=4)
    for _ in range(2):  # the second shows that the memories were written alike
        ours, theirs = step(loss, batch), step(other, batch)
        torch.testing.assert_close(theirs.tensors(), ours.tensors(), rtol=0, atol=0)


@every_loss
def test_evaluation_leaves_no_trace(name):
    loss = bound_loss(name)
    step(loss, random_batch(seed=1))
    loss.eval()
    before = copy.deepcopy(loss.state_dict())
    first = step(loss, random_batch())
    second = step(loss, random_batch())
    torch.testing.assert_close(first.tensors(), second.tensors(), rtol=0, atol=0)
    torch.testing.assert_close(dict(loss.state_dict()), dict(before), rtol=0, atol=0)


@every_loss
def test_unequal_widths_through_bind(name):
    loss = bound_loss(name, student_dim=8, teacher_dim=5)
    result = step(loss, CASES["some unlabelled"](random_batch(teacher_dim=5)))
    assert torch.isfinite(result.value)
    assert result.reaches_the_student()


@every_loss
def test_binding_twice_changes_nothing(name):
    loss = bound_loss(name, teacher_dim=5)
    before = copy.deepcopy(loss.state_dict())
    loss.bind(Spec(8, STUDENT_HIDDEN), Spec(5, TEACHER_HIDDEN), CLASSES, SAMPLES)
    torch.testing.assert_close(dict(loss.state_dict()), dict(before), rtol=0, atol=0)


@every_loss
def test_unequal_widths_without_bind(name):
    """Either the loss needs no common width, or it says what to do."""
    loss = create_loss(name)
    batch = fitting(loss, random_batch(teacher_dim=5))
    try:
        value = loss(batch.student, batch.teacher, batch.target, index=batch.index)
    except ValueError as error:
        assert "bind" in str(error)
    else:
        assert not loss.shared_space
        assert torch.isfinite(value)


@every_loss
def test_the_teacher_gets_gradient_only_if_the_loss_is_mutual(name):
    loss = bound_loss(name)
    batch = fitting(loss, random_batch())
    student = batch.student.map(lambda tensor: tensor.clone().requires_grad_())
    teacher = batch.teacher.map(lambda tensor: tensor.clone().requires_grad_())
    loss(student, teacher, batch.target, index=batch.index).backward()
    tensors = (teacher.embedding, teacher.logits, *teacher.hidden.values())
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    assert any(gradient.any() for gradient in gradients) == loss.mutual


@every_loss
def test_two_calls_before_one_backward(name):
    """A memory that is written by the second call leaves the graph of the first intact."""
    loss = bound_loss(name)
    first, second = (fitting(loss, random_batch(seed=seed)) for seed in (1, 2))
    student = first.student.map(lambda tensor: tensor.clone().requires_grad_())
    total = loss(student, first.teacher, first.target, index=first.index)
    total = total + loss(student, second.teacher, second.target, index=second.index)
    total.backward()
    tensors = (student.embedding, student.logits, *student.hidden.values())
    assert any(tensor.grad is not None for tensor in tensors)


@every_loss
def test_terms_hold_the_value(name):
    loss = bound_loss(name)
    value = step(loss, random_batch()).value
    torch.testing.assert_close(loss.terms[name], value)
    assert not any(term.requires_grad for term in loss.terms.values())
    assert all(term == name or term.startswith(f"{name}/") for term in loss.terms)


@every_loss
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_any_batch_is_finite(name, data):
    rows = data.draw(st.integers(1, 7))
    ints = st.lists(st.integers(-1, 2), min_size=rows, max_size=rows)
    bools = st.lists(st.booleans(), min_size=rows, max_size=rows)
    powers = st.integers(-12, 4)
    batch = random_batch(rows, teacher_dim=5, seed=data.draw(st.integers(0, 99)))
    batch = scaled(batch, 10.0 ** data.draw(powers), 10.0 ** data.draw(powers)).change(
        target=torch.tensor(data.draw(ints)), valid=torch.tensor(data.draw(bools))
    )
    loss = bound_loss(name, teacher_dim=5)
    for part, tensor in step(loss, batch).tensors().items():
        assert torch.isfinite(tensor).all(), part


@every_loss
def test_no_tensor_holds_pairs_times_width(name):
    """Neither the first step nor one that meets a memory makes B·B·D numbers, backward included."""
    rows, width = 64, 128
    loss = bound_loss(name, width, width, **SHORT_MEMORY.get(name, {}))
    batch = random_batch(rows, width, width).change(index=torch.arange(rows) % SAMPLES)
    with LargestTensor() as largest:
        step(loss, batch)
        step(loss, batch)
    assert rows * width <= largest.numbers < rows * rows * width, largest.operation


@every_loss
def test_compiles_in_one_graph(name):
    """No graph break: neither a data-dependent shape nor a wait for the device."""
    eager, compiled = bound_loss(name), bound_loss(name)
    batch = random_batch().change(
        target=torch.tensor([0, 1, -1, 0, 2, 1]),
        valid=torch.tensor([True, True, True, False, True, True]),
    )
    batch = fitting(eager, batch)
    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend="eager")
    def run(student, teacher, target, valid, index):
        return compiled(student, teacher, target, valid=valid, index=index)

    torch.manual_seed(3)
    value = run(batch.student, batch.teacher, batch.target, batch.valid, batch.index)
    torch.testing.assert_close(value, step(eager, batch).value)
