"""What a validation measures: the loss, the classifier, or embeddings without one."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from tests.toy import ToyEncoder, toy_data, toy_encoders
from xdistill.data.cache import cache_teacher
from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.engine.embedding_metrics import EmbeddingMetrics, probe_accuracy, recall_at
from xdistill.losses.crd import CRD
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.kd import KD
from xdistill.losses.sacd import SACD

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def without_classifier(loss) -> Distiller:
    torch.manual_seed(0)
    student, teacher = ToyEncoder("cheap", 6, 8, None), ToyEncoder("rich", 3, 8, None)
    return Distiller(student, teacher, loss, num_samples=60)


def run(distiller, val, train=None, **options):
    train = paired_loader(train or toy_data(), 16, shuffle=True)
    options = {"max_epochs": 4, "lr": 0.02, **QUIET, **options}
    return fit(distiller, train, paired_loader(val, 16), **options)


def test_the_validation_loss_is_the_mean_over_the_rows():
    distiller = Distiller(*toy_encoders(), CrossEntropy() + 0.5 * KD())
    val = toy_data(30, seed=1)
    result = run(distiller, val, max_epochs=1)
    distiller.eval()
    with torch.no_grad():
        step = distiller(collate([val[row] for row in range(30)]))
    row = result.history[0]
    assert row["val/loss"] == pytest.approx(float(step.loss), rel=1e-5)
    assert row["val/kd"] == pytest.approx(float(step.terms["kd"]), rel=1e-5)


def test_a_validation_leaves_the_training_as_it_is():
    histories = []
    for val in (toy_data(30, seed=1), toy_data(16, seed=2)):
        distiller = Distiller(*toy_encoders(), CrossEntropy() + SACD(dim=4, bank_size=32))
        histories.append(run(distiller, val, val_check_interval=0.5).history)
    for one, other in zip(*histories, strict=True):
        assert one["train/loss"] == other["train/loss"]


def test_rows_without_the_teacher_have_metrics_and_no_loss():
    val = toy_data(30, seed=1)
    alone = val.replace(inputs={"cheap": val.inputs["cheap"]})
    row = run(Distiller(*toy_encoders(), CrossEntropy() + KD()), alone, max_epochs=1).history[0]
    assert "val/loss" not in row and row["val/accuracy"] > 0


def test_a_teacher_that_training_reads_from_the_cache_does_not_run_in_validation(tmp_path):
    student, teacher = toy_encoders()
    train, val = (cache_teacher(toy_data(seed=s), teacher, "rich", root=tmp_path) for s in (0, 1))
    teacher.forward = None
    distiller = Distiller(student, teacher, CrossEntropy() + KD())
    assert "val/loss" not in run(distiller, toy_data(seed=1), train, max_epochs=1).history[0]
    assert "val/loss" in run(distiller, val, train, max_epochs=1).history[0]


def test_nan_in_a_validation_teacher_is_a_counted_warning():
    val = toy_data(30, seed=1)
    val.inputs["rich"][[3, 9]] = torch.nan
    with pytest.warns(UserWarning, match="val: 2 of 30"):
        result = run(Distiller(*toy_encoders(), CrossEntropy() + KD()), val, max_epochs=1)
    assert np.isfinite(result.history[0]["val/loss"])


def test_validation_without_any_label_chooses_by_what_needs_none():
    val = toy_data(30, seed=1, unlabelled=30)
    with pytest.raises(ValueError, match="'val/macro_f1' is not logged.*val/kd.*val/loss"):
        run(Distiller(*toy_encoders(), KD()), val, max_epochs=1)
    result = run(Distiller(*toy_encoders(), KD()), val, monitor="val/loss", mode="min")
    assert result.best_value == min(row["val/loss"] for row in result.history)


def test_kappa_of_one_class_is_nan_and_not_zero():
    val = toy_data(60, seed=1)
    distiller = Distiller(toy_encoders()[0], None, CrossEntropy())
    with torch.no_grad():
        distiller.student.classifier.bias[0] = 1e3
    row = run(distiller, val.subset(val.target == 0), max_epochs=1).history[0]
    assert row["val/accuracy"] == 1.0 and np.isnan(row["val/kappa"])


@pytest.mark.parametrize("dim", [None, 4])
def test_a_student_without_a_classifier_is_chosen_by_retrieval_or_a_probe(dim):
    distiller = without_classifier(InfoNCE(dim=dim))
    val = toy_data(30, seed=1)
    result = run(distiller, val, monitor="val/recall@5", max_epochs=20)
    best = result.history[result.best_epoch]
    assert result.best_value == best["val/recall@5"] > best["val/recall@1"]
    # Chance is 1/6, and 1/2 what one can know: the pairs share a class of ten rows.
    assert 0.3 < best["val/recall@5"] < 0.6
    assert max(row["val/probe_accuracy"] for row in result.history) > 0.45  # chance: 1/3


@pytest.mark.parametrize("dim", [None, 4])
def test_retrieval_is_that_of_the_space_in_which_the_loss_compares(dim):
    distiller = without_classifier(InfoNCE(dim=dim))
    val = toy_data(30, seed=1)
    row = run(distiller, val, monitor="val/recall@5", max_epochs=1).history[0]
    batch = collate([val[row] for row in range(30)])
    distiller.eval()
    with torch.no_grad():
        student, teacher = distiller.student(batch.inputs["cheap"]), distiller.teach("rich", batch)
        if dim is not None:
            student, teacher = distiller.losses["rich"].project(student, teacher)
    similarity = torch.nn.functional.cosine_similarity(
        student.embedding[:, None], teacher.embedding[None], dim=-1
    )
    nearest = similarity.topk(5, dim=1).indices
    recall = (nearest == torch.arange(30)[:, None]).any(1).double().mean()
    assert row["val/recall@5"] == pytest.approx(float(recall))


def test_the_default_monitor_without_a_classifier_says_what_there_is():
    with pytest.raises(ValueError, match="val/probe_accuracy.*val/recall@1"):
        run(without_classifier(InfoNCE()), toy_data(30, seed=1))


def test_a_loss_with_a_slot_per_training_row_has_no_validation_loss_but_retrieval():
    loss = CRD(dim=4)
    row = run(without_classifier(loss), toy_data(30, seed=1), monitor="val/recall@1").history[0]
    assert loss.slot_per_row and "val/loss" not in row and "val/recall@1" in row


def test_retrieval_counts_ties_against_the_student_and_nan_as_nothing():
    same = torch.ones(10, 3)
    assert recall_at(1, same, same) == 0.0 and recall_at(9, same, same) == 0.0
    assert recall_at(10, same, same) == 1.0
    eye = torch.eye(4)
    assert recall_at(1, 3 * eye, eye) == 1.0
    assert recall_at(1, eye, eye.roll(1, 0)) == 0.0
    assert np.isnan(recall_at(1, torch.full((4, 4), torch.nan), eye))
    one, other = torch.randn(50, 8), torch.randn(50, 8)
    assert 0 < recall_at(20, one, other, block=7) == recall_at(20, one, other, block=50) < 1


def test_the_probe_is_ridge_regression_over_whole_groups():
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(60) % 3
    x = torch.eye(3)[target] @ torch.randn(3, 5, generator=generator)
    x = 7 + 3 * (x + torch.randn(60, 5, generator=generator))
    group = torch.arange(60) // 6
    target[10] = -1
    known = target >= 0
    right = 0
    for fold in (group % 2 == 0, group % 2 == 1):
        seen, held = (fold & known).numpy(), (~fold & known).numpy()
        scale = StandardScaler().fit(x[seen].double())
        design = np.c_[scale.transform(x.double()), np.ones(60)]
        ridge = Ridge(alpha=1.0, fit_intercept=False)
        ridge.fit(design[seen], np.eye(3)[target[seen]])
        right += (ridge.predict(design[held]).argmax(1) == target[held].numpy()).sum()
    found = probe_accuracy(x, target, group)
    assert found == pytest.approx(right / int(known.sum()))
    assert 0.4 < found < 1
    assert np.isnan(probe_accuracy(x, target, torch.zeros(60, dtype=torch.int64)))


def test_a_row_that_a_sampler_repeats_counts_once():
    metrics = EmbeddingMetrics(("rich",))
    x = torch.eye(4)
    index = torch.arange(4)
    for rows in ([0, 1, 2, 3], [3, 2]):
        metrics.update(
            x[rows],
            index[rows] % 2,
            index[rows],
            index[rows],
            {"rich": (x[rows], x[rows], index[rows])},
        )
    assert float(metrics.compute()["recall@1"]) == 1.0
