import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.toy import ToyEncoder, toy_data, toy_encoders
from xdistill.data.collate import collate
from xdistill.distiller import Distiller
from xdistill.losses.binary_cross_entropy import BinaryCrossEntropy, binary_cross_entropy
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.dist import DIST
from xdistill.losses.kd import KD
from xdistill.losses.parts.loss import Loss
from xdistill.losses.sacd import SACD
from xdistill.types import PairedBatch


class Distance(Loss):
    name = "distance"

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        self.seen = student.embedding.shape, teacher.embedding.shape, valid
        rows = (student.embedding - teacher.embedding).pow(2).mean(1)
        return rows.mean() if valid is None else (rows * valid).sum() / valid.sum().clamp(min=1)


class LogitDistance(Distance):
    shared_space = False
    name = "logit_distance"

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return (student.logits - teacher.logits).pow(2).mean()


class MutualDistance(LogitDistance):
    mutual = True


def batch(rows=12, **options) -> PairedBatch:
    data = toy_data(rows, **options)
    return collate([data[row] for row in range(rows)])


def test_a_frozen_teacher_stays_in_eval_and_without_gradient_after_train():
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, CrossEntropy() + Distance()).train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    distiller(batch()).loss.backward()
    assert not any(module.training for module in teacher.modules())
    assert student.training and student.norm.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(before[name], now) for name, now in teacher.state_dict().items())


def test_a_regular_expression_trains_a_part_of_the_teacher():
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, CrossEntropy(), train_teacher=r"^classifier\.").train()
    distiller(batch()).loss.backward()
    trained = {name for name, p in teacher.named_parameters() if p.grad is not None}
    assert trained == {"classifier.weight", "classifier.bias"}
    assert not teacher.norm.training


def test_a_regular_expression_that_finds_nothing_is_refused():
    with pytest.raises(ValueError, match="matches no parameter of teacher 'rich'.*body.weight"):
        Distiller(*toy_encoders(), CrossEntropy(), train_teacher="layer9")


def test_a_training_teacher_learns_from_its_own_task_and_from_mutual_losses():
    for loss, mutual in ((LogitDistance(), False), (MutualDistance(), True)):
        student, teacher = toy_encoders()
        distiller = Distiller(student, teacher, loss, train_teacher=True).train()
        data = batch()
        step = distiller(data.__class__(data.inputs, torch.full((12,), -1)))
        step.loss.backward()
        # Without any label the task loss is zero, so what is left comes from the mutual loss.
        assert (float(teacher.body.weight.grad.abs().sum()) > 0) == mutual
        assert "teacher/rich" in step.terms


def test_unequal_widths_are_projected_into_the_shared_space():
    loss = CrossEntropy() + Distance()
    distiller = Distiller(*toy_encoders(8, 5), loss, projector="linear", dim=4)
    step = distiller(batch())
    step.loss.backward()
    assert loss.losses[1].seen[:2] == ((12, 4), (12, 4))
    assert all(p.grad is not None for p in loss.losses[1].teacher_projector.parameters())
    assert set(step.terms) == {"cross_entropy", "distance"}


def test_losses_of_the_shared_space_share_one_pair_of_projectors():
    loss = Distance() + Distance()
    Distiller(*toy_encoders(), loss, projector="mlp", dim=4)
    assert loss.losses[0].student_projector is loss.losses[1].student_projector


def test_no_projector_where_no_loss_compares_embeddings():
    distiller = Distiller(*toy_encoders(), CrossEntropy() + LogitDistance(), projector="mlp", dim=4)
    assert not list(distiller.losses.parameters())


def test_rows_without_the_teacher_modality_never_reach_the_teacher():
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, Distance()).eval()
    data = batch()
    valid = torch.arange(12) % 3 != 0
    garbage = torch.where(valid[:, None], data.inputs["rich"], torch.nan)
    full = distiller(PairedBatch(data.inputs, data.target)).teachers["rich"].embedding
    step = distiller(PairedBatch({**data.inputs, "rich": garbage}, data.target, {"rich": valid}))
    torch.testing.assert_close(step.teachers["rich"].embedding[valid], full[valid])
    assert float(step.teachers["rich"].embedding[~valid].detach().abs().sum()) == 0
    assert torch.isfinite(step.loss)


def test_a_batch_without_any_valid_row_leaves_the_task_alone():
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, CrossEntropy() + Distance(), train_teacher=True)
    distiller.train()
    before = teacher.norm.running_mean.clone()
    data = batch()
    none = torch.zeros(12, dtype=torch.bool)
    step = distiller(PairedBatch(data.inputs, data.target, {"rich": none}))
    step.loss.backward()
    assert float(step.terms["distance"]) == 0
    assert torch.equal(teacher.norm.running_mean, before) and teacher.norm.training
    assert float(student.body.weight.grad.abs().sum()) > 0


def test_several_teachers_add_up_and_may_be_missing_independently():
    student, teacher = toy_encoders()
    other = ToyEncoder("other", 2, 8)
    losses = {"rich": CrossEntropy() + Distance(), "other": Distance()}
    distiller = Distiller(student, {"rich": teacher, "other": other}, losses).eval()
    data = batch()
    inputs = {**data.inputs, "other": torch.randn(12, 2)}
    valid = {"other": torch.arange(12) < 4}
    step = distiller(PairedBatch(inputs, data.target, valid))
    assert set(step.terms) == {"rich/cross_entropy", "rich/distance", "other/distance"}
    torch.testing.assert_close(step.loss, sum(step.terms.values()) + 0 * step.loss)
    assert losses["other"].seen[2] is valid["other"]


def test_a_student_alone_is_not_its_own_teacher():
    student, _ = toy_encoders()
    with pytest.raises(ValueError, match="^the loss compares with a teacher, but there is none"):
        Distiller(student, None, KD())(batch())  # the batch might have held its outputs
    with pytest.raises(ValueError, match="^sacd compares with a teacher, but there is none"):
        Distiller(student, None, CrossEntropy() + DIST() + SACD(dim=4))


def test_a_teacher_is_not_its_own_teacher():
    with pytest.raises(ValueError, match="^kd would compare the teacher with itself"):
        Distiller(*toy_encoders(), CrossEntropy(), train_teacher=True, teacher_loss=KD())


def test_a_student_learns_alone():
    student, _ = toy_encoders()
    step = Distiller(student, None, CrossEntropy())(batch())
    assert set(step.terms) == {"cross_entropy"} and step.teachers == {}


def test_cached_outputs_take_the_place_of_the_teacher():
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, Distance()).eval()
    data = batch()
    with torch.no_grad():
        cached = teacher(data.inputs["rich"])
    teacher.forward = None  # type: ignore[assignment]
    step = distiller(
        PairedBatch({"cheap": data.inputs["cheap"]}, data.target, cached={"rich": cached})
    )
    assert step.teachers["rich"] is cached


def test_a_training_teacher_fills_the_bank_through_its_slow_copy():
    loss = CrossEntropy() + SACD(dim=4, bank_size=32, teacher_momentum=0.9)
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, loss, train_teacher=True).train()
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1)
    data = batch()
    for _ in range(2):
        optimizer.zero_grad()
        distiller(data).loss.backward()
        optimizer.step()
    bank, (slow,) = loss.losses[1].bank, distiller.slow_teachers["rich"]
    assert int(bank.filled) == 24
    torch.testing.assert_close(bank.keys[12:24], slow(data.inputs["rich"]).embedding)
    assert not torch.allclose(slow.module.body.weight, teacher.body.weight)


def test_a_training_teacher_of_rows_with_several_classes():
    loss = BinaryCrossEntropy() + SACD(dim=4, bank_size=32)
    student, teacher = toy_encoders()
    distiller = Distiller(
        student, teacher, loss, train_teacher=True, teacher_loss=BinaryCrossEntropy()
    )
    one = batch()
    target = torch.nn.functional.one_hot(one.target.clamp(min=0), 3)
    valid = torch.arange(len(one)) != 2
    step = distiller(replace(one, target=target, valid={"rich": valid}))
    step.loss.backward()
    kept = binary_cross_entropy(step.teachers["rich"].logits[valid], target[valid])
    torch.testing.assert_close(step.terms["teacher/rich"], kept.detach())
    assert int(loss.losses[1].bank.filled) == len(one) - 1
    assert not (loss.losses[1].bank.labels >= 0).any()


def test_a_frozen_teacher_has_no_slow_copy_and_fills_the_bank_itself():
    loss = SACD(dim=4, bank_size=32)
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, loss).train()
    data = batch()
    distiller(data)
    assert not distiller.slow_teachers
    with torch.no_grad():
        expected = teacher(data.inputs["rich"]).embedding
    torch.testing.assert_close(loss.bank.keys[:12], expected)


def test_cached_outputs_of_a_training_teacher_are_refused():
    student, teacher = toy_encoders()
    data = batch()
    cached = {"rich": teacher(data.inputs["rich"]).detach()}
    distiller = Distiller(student, teacher, Distance(), train_teacher=True)
    with pytest.raises(ValueError, match="trains, but the batch holds cached"):
        distiller(PairedBatch(data.inputs, data.target, cached=cached))


def test_what_is_missing_is_named():
    student, teacher = toy_encoders()
    with pytest.raises(ValueError, match="teacher needs modality 'rich'.*cheap"):
        data = batch()
        Distiller(student, teacher, Distance())(
            PairedBatch({"cheap": data.inputs["cheap"]}, data.target)
        )
    with pytest.raises(ValueError, match="no attribute modality and no dim"):
        Distiller(nn.Linear(2, 2), teacher, Distance())
    with pytest.raises(ValueError, match=r"losses are named \['eeg'\] but teachers \['rich'\]"):
        Distiller(student, {"rich": teacher}, {"eeg": Distance()})
    with pytest.raises(ValueError, match="2 teachers .* need one loss each"):
        Distiller(student, {"rich": teacher, "other": teacher}, Distance())


def test_the_students_checkpoint_holds_the_student_alone():
    student, teacher = toy_encoders()
    names = set(student.state_dict())
    Distiller(student, teacher, Distance(), projector="mlp", dim=4)
    assert set(student.state_dict()) == names


COMPILE = """
import torch
from tests.toy import toy_data, toy_encoders
from xdistill.types import Outputs
student = toy_encoders()[0].eval()
x = toy_data(12).inputs["cheap"]
outputs = torch.compile(student, backend="eager", fullgraph=True)(x)
assert isinstance(outputs, Outputs), type(outputs)
torch.testing.assert_close(outputs.embedding, student(x).embedding)
torch.testing.assert_close(outputs.hidden["body"], student(x).hidden["body"])
"""


def test_outputs_pass_through_compile():
    # In a process of its own: dynamo cannot trace the shape checks of this test run.
    subprocess.run([sys.executable, "-c", COMPILE], check=True, cwd=Path(__file__).parents[1])


def test_the_example_of_a_named_teacher_may_hold_its_input_under_its_name():
    student, teacher = toy_encoders()
    whole = batch()
    inputs = {"cheap": whole.inputs["cheap"], "own": whole.inputs["rich"]}
    example = replace(whole, inputs=inputs, valid={})
    step = Distiller(student, {"own": teacher}, {"own": KD()}, example=example)(example)
    torch.testing.assert_close(step.teachers["own"].logits, teacher(inputs["own"]).logits)
