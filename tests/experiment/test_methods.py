"""What losses a method consists of, and with which weights."""

from pathlib import Path

import pytest

import xdistill as xd
from xdistill.experiment import BASELINES, Options, Setting, create_losses
from xdistill.experiment.methods import create_term
from xdistill.experiment.settings import OURS
from xdistill.experiment.variants import VARIANTS

METHODS = ["kd", "sacd", "dkd", "kd+sacd", "dist+sacd/bank_0", *BASELINES[1:], *VARIANTS]


def setting(**options) -> Setting:
    def load(root: Path, split: int) -> xd.Splits:
        raise AssertionError("no data is needed")

    return Setting(load, {"one": "mlp", "two": "mlp"}, "student", **options)


def of_a_script(*layers: str) -> Setting:
    """What benchmarks/s3ve.py and utd_mhad.py make of their command line."""
    part = xd.PairedDataset({"a": [[0.0]], "b": [[0.0]]}, [0], classes=("x", "y"))
    return Options(layers=layers).setting(xd.Splits(part, part, part), "a", "b")


@pytest.mark.parametrize("method", METHODS)
def test_the_tasks_loss_is_there_once_however_many_teachers(method):
    losses = create_losses(method, setting(epochs=8), 3.0)
    assert list(losses) == ["one", "two"]
    first, second = losses.values()
    assert isinstance(next(first.leaves()), xd.CrossEntropy)
    assert len(list(first.leaves())) == 1 + len(list(second.leaves()))
    assert [leaf.name for leaf in second.leaves()] == [
        name.partition("/")[0] for name in method.split("+") if name != "calibrated"
    ]


@pytest.mark.parametrize("where", [OURS["mfh_gaussian"], of_a_script()], ids=["suite", "scripts"])
def test_kd_means_a_tenth_of_the_cross_entropy_wherever_it_stands(where):
    (alone,) = create_losses("kd", where).values()
    (combined,) = create_losses("kd+sacd", where).values()
    (behind,) = create_losses("sacd+kd", where).values()
    sacd = xd.SACD.recommended_weight
    assert alone.weights == [0.1, 0.9]
    assert combined.weights == [0.1, 0.9, sacd] and behind.weights == [0.1, sacd, 0.9]
    (without,) = create_losses("sacd", where).values()
    assert without.weights == [1.0, sacd]


def test_a_strength_multiplies_all_but_the_task_and_is_shared_by_the_teachers():
    first, second = create_losses("kd+sacd", setting(), 3.0).values()
    sacd = xd.SACD.recommended_weight
    assert first.weights == pytest.approx([0.1, 1.5 * 0.9, 1.5 * sacd])
    assert second.weights == pytest.approx([1.5 * 0.9, 1.5 * sacd])


def test_the_scripts_leave_every_loss_as_it_is_recommended():
    (loss,) = create_losses("dkd+at+crd", of_a_script("late:late")).values()
    task, dkd, at, crd = loss.summands()
    assert loss.weights == [1.0, xd.DKD.recommended_weight, 1000.0, xd.CRD.recommended_weight]
    assert isinstance(task, xd.CrossEntropy) and isinstance(at, xd.AT)
    assert (dkd.until, dkd.unit) == (20, "epochs") and isinstance(dkd.loss, xd.DKD)
    assert crd.num_negatives == xd.CRD().num_negatives


def test_short_runs_have_a_short_warm_up_and_few_negatives():
    loss = create_losses("dkd+crd", setting(epochs=8))["one"]
    _, dkd, crd = loss.summands()
    assert dkd.until == 2 and crd.num_negatives == 256


def test_a_loss_on_hidden_layers_gets_the_settings_layers():
    found = create_term("at", [("layer4", "layer3")])
    assert isinstance(found, xd.AT)
    assert found.layers == [("layer4", "layer3")]
    with pytest.raises(ValueError, match="'at' compares hidden layers; .*--layers student:teacher"):
        create_term("at")
    with pytest.raises(ValueError, match="expects student:teacher, .* got 'late'"):
        of_a_script("late")


def test_a_variant_has_its_own_options_beside_the_settings_of_its_loss():
    assert not create_term("pseudo_label/soft").hard and create_term("pseudo_label").hard
    where = setting(loss_options={"pseudo_label": {"threshold": 0.5}})
    (soft,) = create_losses("pseudo_label/soft", where)["two"].leaves()
    assert (soft.hard, soft.threshold) == (False, 0.5)


def test_a_preparation_of_targets_is_no_loss():
    plain, prepared = (
        create_losses(name, setting())["two"] for name in ("dist", "refined+calibrated+dist")
    )
    assert [type(one) for one in plain.leaves()] == [type(one) for one in prepared.leaves()]
    with pytest.raises(ValueError, match="names no loss; name one, as in refined.pseudo_label"):
        create_losses("refined", setting())


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="did you mean"):
        create_term("kdd")
    with pytest.raises(ValueError, match="unknown variant 'sacd/nothing'; known variants: sacd/"):
        create_term("sacd/nothing")
