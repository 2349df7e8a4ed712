"""Every registered loss and every kind of target: the right value, or a sentence."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

import xdistill as xd
from tests.losses.batches import CLASSES, Batch, bound_loss, fitting, random_batch, step
from xdistill.losses.parts.loss import Loss
from xdistill.registry import losses
from xdistill.types import Outputs

NAMES = xd.list_losses()
every_loss = pytest.mark.parametrize("name", NAMES)
POSITIONS = 2


def inputs_of(name: str) -> set[str]:
    return set(bound_loss(name).inputs)


def values() -> torch.Tensor:
    """Six rows of three values, one unknown throughout and one in part."""
    target = torch.arange(18.0).reshape(6, 3) - 7
    target[1] = target[3, 2] = math.nan
    return target


def probabilities() -> torch.Tensor:
    target = torch.arange(18.0).reshape(6, 3).cos().softmax(dim=1)
    target[1] = math.nan
    return target


def unlabelled(name: str) -> torch.Tensor:
    return step(bound_loss(name), random_batch().change(target=None)).value


@every_loss
def test_values_to_regress(name):
    """Defined for what reads values, and for what reads neither labels nor scores of classes."""
    kind, batch = losses.get(name), random_batch().change(target=values())
    if "values" in kind.reads and kind.task:
        known = ~values().isnan()
        gap = (batch.student.logits - values())[known]
        expected = {"mse": gap.square().mean(), "smooth_l1": xd.SmoothL1()}[name]
        if name == "smooth_l1":
            expected = torch.where(gap.abs() < 1, gap**2 / 2, gap.abs() - 0.5).mean()
        torch.testing.assert_close(step(bound_loss(name), batch).value, expected)
    elif {"labels", "logits"} & inputs_of(name) and "values" not in kind.reads:
        with pytest.raises(
            ValueError, match=rf"({name} (reads|takes logits for)|sum to 1).*use mse"
        ):
            step(bound_loss(name), batch)
    else:
        torch.testing.assert_close(step(bound_loss(name), batch).value, unlabelled(name))


@every_loss
def test_soft_labels(name):
    kind, batch = losses.get(name), random_batch().change(target=probabilities())
    if name == "cross_entropy":
        log_p = batch.student.logits.log_softmax(dim=1)
        each = -(probabilities() * log_p).sum(dim=1)
        torch.testing.assert_close(step(bound_loss(name), batch).value, each.nanmean())
    elif "values" in kind.reads and kind.task:
        assert torch.isfinite(step(bound_loss(name), batch).value)  # values that sum to one
    elif "labels" in inputs_of(name):
        with pytest.raises(ValueError, match=f"{name} reads .*for soft labels; use cross_entropy"):
            step(bound_loss(name), batch)
    else:
        torch.testing.assert_close(step(bound_loss(name), batch).value, unlabelled(name))


def sequences(batch: Batch) -> Batch:
    """The same rows, two and two of them as the positions of one of B/2 longer rows."""

    def longer(outputs: Outputs) -> Outputs:
        return Outputs(
            outputs.embedding.unflatten(0, (-1, POSITIONS)),
            None if outputs.logits is None else outputs.logits.unflatten(0, (-1, POSITIONS)),
        )

    target = batch.target
    return batch.change(
        student=longer(batch.student),
        teacher=longer(batch.teacher),
        target=None if target is None else target.unflatten(0, (-1, POSITIONS)),
        valid=None if batch.valid is None else batch.valid[::POSITIONS],
        index=None if batch.index is None else batch.index[::POSITIONS],
    )


@every_loss
@pytest.mark.parametrize("masked", [False, True])
def test_a_class_or_value_for_each_position(name, masked):
    """A loss that is defined per position is that of the positions as rows."""
    loss = bound_loss(name)
    flat = fitting(loss, random_batch()).change(
        valid=torch.tensor([True, True, False, False, True, True]) if masked else None
    )
    flat.target[1] = -1 if not flat.target.is_floating_point() else math.nan
    long = sequences(flat)
    if loss.per_position:
        expected, found = step(bound_loss(name), flat), step(loss, long)
        torch.testing.assert_close(found.value, expected.value)
        torch.testing.assert_close(found.logits.flatten(0, 1), expected.logits)
        torch.testing.assert_close(found.embedding.flatten(0, 1), expected.embedding)
    elif loss.inputs == ("hidden",):
        long = long.change(
            student=Outputs(long.student.embedding, long.student.logits, _first(flat.student)),
            teacher=Outputs(long.teacher.embedding, long.teacher.logits, _first(flat.teacher)),
        )
        short = flat.rows(torch.arange(0, 6, POSITIONS)).change(valid=long.valid, target=None)
        torch.testing.assert_close(step(loss, long).value, step(bound_loss(name), short).value)
    else:
        with pytest.raises(ValueError, match=f"{name} (reads|is not defined per position)"):
            step(loss, long)


def _first(outputs: Outputs) -> dict[str, torch.Tensor]:
    return {name: tensor[::POSITIONS] for name, tensor in outputs.hidden.items()}


@every_loss
def test_logits_with_positions_beside_one_embedding_a_row(name):
    """What reads the embedding alone is as without positions; labels of positions are refused."""
    loss, batch = bound_loss(name), random_batch()
    maps = {
        role: Outputs(one.embedding, one.logits[:, None].expand(-1, 4, -1), one.hidden)
        for role, one in (("student", batch.student), ("teacher", batch.teacher))
    }
    if "labels" in loss.inputs and not loss.per_position:
        positions = torch.arange(24).reshape(6, 4) % CLASSES
        with pytest.raises(ValueError, match=f"{name} (reads|is not defined)"):
            step(bound_loss(name), batch.change(target=positions, **maps))
    elif "logits" in loss.inputs and not loss.per_position:
        with pytest.raises(ValueError, match=f"{name} is not defined per position"):
            step(loss, batch.change(target=None, **maps))
    elif "logits" not in loss.inputs:
        found = step(loss, batch.change(target=None, **maps))
        torch.testing.assert_close(found.value, unlabelled(name))


def test_a_class_of_the_whole_row_is_no_class_of_its_positions():
    batch = sequences(random_batch())
    with pytest.raises(ValueError, match=r"target has shape \[3\].*expected .*\[3, 2\]"):
        step(xd.CrossEntropy(), batch.change(target=torch.tensor([0, 1, 2])))
    short = Outputs(batch.teacher.embedding[:, :1], batch.teacher.logits[:, :1])
    with pytest.raises(ValueError, match=r"kd compares position by position.*\[3, 1, 3\]"):
        step(xd.KD(), batch.change(teacher=short))


@pytest.mark.parametrize("wrong", [[0.5, 0.6, 0.1], [1.5, -0.5, 0.0], [math.nan, 0.5, 0.5]])
def test_soft_labels_are_probabilities(wrong):
    target = probabilities()
    target[2] = torch.tensor(wrong)
    with pytest.raises(ValueError, match="target row 2 is .*sum to 1"):
        step(xd.CrossEntropy(), random_batch().change(target=target))


def test_hard_labels_are_soft_labels_of_one():
    batch = random_batch()
    one_hot = torch.nn.functional.one_hot(batch.target, CLASSES).float()
    for smoothing in (0.0, 0.1):
        loss = xd.CrossEntropy(label_smoothing=smoothing)
        torch.testing.assert_close(
            step(loss, batch.change(target=one_hot)).value, step(loss, batch).value
        )


class Own(Loss):
    """A loss of a user's, which keeps what it was given."""

    needs = ("logits", "labels")
    shared_space = False

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        self.seen = student, target
        return student.logits.sum()


TARGETS = {
    "class": torch.tensor([0, 1, -1, 2, 1, 0]),
    "classes": torch.tensor([[0, 1, -1]] * 6),
    "soft": torch.tensor([[0.25, 0.5, 0.25]] * 6),
    "values": torch.tensor([[7.0, -3.0, math.nan]] * 6),
}


@pytest.mark.parametrize("kind", [*TARGETS, "sequence"])
def test_a_loss_of_ones_own_gets_the_target_that_it_says_it_reads(kind):
    loss, batch = Own(), random_batch()
    loss.reads = (kind,)
    batch = batch.change(target=TARGETS.get(kind))
    if kind == "sequence":
        batch = sequences(random_batch())
    step(loss + xd.RKD() if kind != "sequence" else loss, batch)
    assert torch.equal(loss.seen[1].nan_to_num(99), batch.target.nan_to_num(99))
    assert loss.seen[0].logits.shape == batch.student.logits.shape
    other = "values" if kind in ("class", "classes") else "class"
    with pytest.raises(ValueError, match="own reads .*, got target"):
        loss(random_batch().student, random_batch().teacher, TARGETS[other])


def test_hidden_labels_are_those_of_unlabelled_rows():
    batch = random_batch().change(target=values())
    for name in ("supcon", "khn", "sacd", "triplet", "ccl"):
        with pytest.raises(ValueError, match="hide the target from it: xd.without_labels"):
            step(bound_loss(name), batch)
        hidden = xd.without_labels(2 * bound_loss(name))
        torch.testing.assert_close(step(hidden, batch).value, 2 * unlabelled(name))
    with pytest.raises(ValueError, match="cross_entropy needs labels"):
        xd.without_labels(xd.KD() + xd.CrossEntropy())


def test_the_page_lists_what_is_defined_per_position():
    page = (Path(__file__).parents[2] / "docs/targets.md").read_text()
    (line,) = re.findall(r"^Defined per position: (.*)$", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == {n for n in NAMES if losses.get(n).per_position}
