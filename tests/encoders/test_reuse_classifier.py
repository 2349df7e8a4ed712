import pytest
import torch
from torch import nn

import xdistill as xd
from tests.toy import toy_data, toy_encoders
from xdistill.encoders import load_weights, save_weights
from xdistill.encoders.capture import capture
from xdistill.export import load_student, save_student
from xdistill.metrics import predict
from xdistill.registry import encoders, modalities

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def test_outputs_are_the_teachers_classifier_on_the_adapted_embedding():
    student, teacher = toy_encoders(8, 5)
    both = xd.reuse_classifier(student, teacher, classifier=teacher.classifier).eval()
    assert (both.modality, both.dim, both.num_classes) == ("cheap", 5, 3)
    x = torch.randn(4, 6)
    outputs = both(x)
    exact = both.adapter(student(x).embedding)
    torch.testing.assert_close(outputs.embedding, exact)
    torch.testing.assert_close(outputs.logits, teacher.classifier(exact))
    assert list(outputs.hidden) == ["body"]
    assert both.adapter[-1].out_features == 5
    linear = xd.reuse_classifier(student, teacher, "linear", classifier=teacher.classifier)
    assert isinstance(linear.adapter, nn.Linear)


def test_the_classifier_is_a_frozen_copy_in_the_state_dict():
    student, teacher = toy_encoders(8, 5)
    head = nn.Sequential(nn.Dropout(0.9), teacher.classifier)
    both = xd.reuse_classifier(student, teacher, classifier=head).train()
    embedding = torch.randn(4, 5)
    torch.testing.assert_close(both.classifier(embedding), teacher.classifier(embedding))
    assert both.student.training and both.adapter.training and not both.classifier.training
    assert not any(p.requires_grad for p in both.classifier.parameters())
    assert all(p.requires_grad for p in teacher.classifier.parameters())
    assert {"classifier.1.weight", "classifier.1.bias"} <= set(both.state_dict())
    before = both.classifier[1].weight.clone()
    with torch.no_grad():
        teacher.classifier.weight.zero_()
    torch.testing.assert_close(both.classifier[1].weight, before)


def test_our_encoders_bring_their_classifier():
    teacher = xd.create_encoder("mlp", in_features=4, num_classes=3, dim=7)
    student = xd.create_encoder("mlp", in_features=2, dim=6, modality="cheap")
    both = capture(xd.reuse_classifier(student, teacher), ["adapter"])
    outputs = both(torch.randn(5, 2))
    assert outputs.logits.shape == (5, 3)
    torch.testing.assert_close(outputs.hidden["adapter"], outputs.embedding)
    torch.testing.assert_close(both.classifier.weight, teacher.head.classifier.weight)
    outputs.logits.sum().backward()  # gradient goes through the classifier
    assert both.adapter[0].weight.grad.any()
    assert both.classifier.weight.grad is None


def test_a_teacher_without_a_fitting_classifier():
    student, teacher = toy_encoders(8, 5)
    with pytest.raises(ValueError, match=r"no head\.classifier.*classifier="):
        xd.reuse_classifier(student, teacher)
    with pytest.raises(ValueError, match="reads 9 features.*embedding has 5"):
        xd.reuse_classifier(student, teacher, classifier=nn.Linear(9, 3))
    teacher.num_classes = None
    with pytest.raises(ValueError, match="how many classes"):
        xd.reuse_classifier(student, teacher, classifier=nn.Sequential(nn.Linear(5, 3)))
    with pytest.raises(ValueError, match="identity"):
        xd.reuse_classifier(student, teacher, "identity", classifier=nn.Linear(5, 3))


def test_simkd_trains_validates_resumes_and_is_exported(tmp_path, monkeypatch):
    """No label reaches the student: it learns the classes from the teacher's features alone."""
    train = xd.paired_loader(toy_data(240), 16, shuffle=True)
    val = xd.paired_loader(toy_data(60, seed=1), 16)
    quick = {"max_epochs": 5, "lr": 0.02, **QUIET}
    _, teacher = toy_encoders(teacher_dim=12)
    xd.fit(xd.Distiller(teacher, None, xd.CrossEntropy()), train, **quick)

    def build(**options):
        student, _ = toy_encoders()
        return xd.reuse_classifier(student, teacher, classifier=teacher.classifier, **options)

    def run(resume):
        distiller = xd.Distiller(build(), teacher, xd.SimKD())
        assert distiller.losses["rich"].adapter is None
        result = xd.fit(distiller, train, val, run_dir=tmp_path / "run", resume=resume, **quick)
        return distiller.student, result

    student, result = run(resume=False)
    assert result.best_value == max(row["val/macro_f1"] for row in result.history) > 0.7
    assert predict(student, val, 3).scores.macro_f1 == pytest.approx(result.best_value, abs=1e-6)
    torch.testing.assert_close(student.classifier.weight, teacher.classifier.weight)

    restored, _ = run(resume=True)  # there is nothing left to train: all of it is the checkpoint's
    torch.testing.assert_close(dict(restored.state_dict()), dict(student.state_dict()))

    x = torch.randn(5, 6)
    other = build().eval()
    assert not torch.allclose(other(x).logits, student.eval()(x).logits)
    save_weights(student, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    torch.testing.assert_close(other(x).logits, student(x).logits)

    monkeypatch.setattr(modalities, "_entries", dict(modalities._entries))
    xd.register_modality(xd.Modality("cheap", axes="b c", unit="", sampling_unit=""))
    monkeypatch.setattr(encoders, "_entries", dict(encoders._entries))
    xd.register_encoder("student_of_rich", modality="cheap")(build)
    folder = tmp_path / "export"
    folder.mkdir()
    save_student(folder, student, name="student_of_rich", options={"adapter": "mlp"}, classes="abc")
    torch.testing.assert_close(load_student(folder).encoder(x).logits, student(x).logits)
