"""A lab's way from a prepared folder to a student: `xdistill train`, small and whole."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xdistill.cli.main import main
from xdistill.data.adapters.nights import (
    read_night,
    read_prepared,
    write_night,
    write_prepared,
)
from xdistill.data.samples import write_nights_sample
from xdistill.sleep.marks import Mark
from xdistill.sleep.model import load_night_model
from xdistill.sleep.train.data import film_options
from xdistill.sleep.train.options import NightOptions
from xdistill.sleep.train.run import train_nights

EPOCHS = 24
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("lab") / "prepared"
    return write_nights_sample(root, subjects=5, epochs=EPOCHS, size=8)


def options(prepared: Path, out: Path, **changes) -> NightOptions:
    small = {"max_epochs": 1, "teacher_epochs": 1, "batch_size": 16, "context_epochs": 2}
    held_out = {"val_subjects": ("s02",), "test_subjects": ("s03", "s04"), "accelerator": "cpu"}
    own = {"methods": ("kd",), **small, **held_out, **changes}
    return NightOptions(prepared=prepared, out=out, **own)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory) -> Path:
    """The student of the body's signals, quick, taught by YASA, two of six nights scored."""
    out = tmp_path_factory.mktemp("runs") / "body"
    train_nights(options(prepared, out, sees="body", teacher="yasa", labels=("s01",)))
    return out


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def test_every_context_is_judged_sleeper_by_sleeper(run):
    found = results(run)
    assert found["judge"] == "scored"
    assert set(found["nights"]) == {"student", "kd"}
    assert set(found["nights"]["student"]) == {"epoch", "hmm", "head"}
    assert set(found["nights"]["kd"]) == {"epoch", "hmm", "head", "head, labels alone"}
    for contexts in found["nights"].values():
        for entry in contexts.values():
            assert entry["sleepers"] == 2
            names = [one["name"] for one in entry["runs"]]
            assert names == ["s03", "s04"]
            for kind in ("five", "four"):
                values = [
                    one["four"]["accuracy"] if kind == "four" else one["accuracy"]
                    for one in entry["runs"]
                ]
                assert entry[kind]["accuracy"]["mean"] == pytest.approx(np.mean(values))
                assert entry[kind]["accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))
            tst = entry["statistics"]["TST"]
            apart = [one["found"]["TST"] - one["reference"]["TST"] for one in entry["runs"]]
            assert tst["bias"] == pytest.approx(np.mean(apart)) and tst["sleepers"] == 2


def test_an_epoch_alone_is_scored_as_the_benchmark_scores_it(run):
    """Pooled over the sleepers, which all have as many epochs."""
    found = results(run)
    for method in ("student", "kd"):
        runs = found["nights"][method]["epoch"]["runs"]
        correct = sum(one["accuracy"] * one["epochs"] for one in runs)
        share = correct / sum(one["epochs"] for one in runs)
        assert share == pytest.approx(found[method]["runs"][0]["accuracy"], abs=1e-6)


def test_the_saved_model_stages_held_out_nights_as_the_report_says(run, prepared):
    found = results(run)
    for method in ("student", "kd"):
        model = load_night_model(run, method)
        chosen = found["contexts"][method][0]["chosen"]
        for one in found["nights"][method][chosen]["runs"]:
            night = read_night(prepared, f"{one['name']}-n1")
            assert night.body is not None
            body = torch.tensor(np.array(night.body))
            valid = torch.isfinite(body).flatten(1).all(dim=1)
            rows = model.embed({"body": body.nan_to_num()})
            stages = model.stage(rows, valid).nan_to_num().argmax(dim=1).numpy()
            known = valid.numpy() & (night.stages >= 0)
            assert one["epochs"] == known.sum() == EPOCHS - 2
            agree = (stages == night.stages)[known].mean()
            assert agree == pytest.approx(one["accuracy"], abs=1e-6)
        held_out = model.held_out["sleepers"]
        assert [one["accuracy"] for one in held_out] == [
            one["accuracy"] for one in found["nights"][method][chosen]["runs"]
        ]


def test_the_model_carries_its_preprocessing_and_training_signals(run, prepared):
    model = load_night_model(run)
    assert model.modalities == ("body",) and model.preprocessing.size == 8
    signals = model.training_signals
    assert signals["names"] == ["activity", "breathing_amplitude"] and signals["nights"] == 3
    nights = [read_night(prepared, name) for name in ("s01-n1", "s01-n2", "s05-n1")]
    means = [np.nanmean(night.features[:, 0]) for night in nights]
    assert signals["mean"][0] == pytest.approx(np.mean(means), rel=1e-5)
    assert signals["sd"][0] == pytest.approx(np.std(means, ddof=1), rel=1e-5)
    assert signals["film_hz"] is None  # the sample's nights say nothing of a film


def test_only_the_named_subjects_labels_are_seen(run):
    config = json.loads((run / "config.json").read_text())
    assert config["labels"] == ["s01"] and config["night"]["modality"] == "body"
    assert results(run)["rows"] == {"train": 3 * 23, "val": 23, "test": 2 * 23}
    assert "train: 3 of 72 epochs have no body" in results(run)["notes"]


def test_the_teacher_of_probabilities_is_scored(run):
    """The sample's YASA knows the stages; an epoch without EEG has no teacher."""
    assert results(run)["teacher"]["accuracy"] == 1.0


def test_a_finished_run_is_read_and_may_get_another_method(run, prepared):
    before = results(run)
    more = options(prepared, run, sees="body", teacher="yasa", labels=("s01",))
    with pytest.raises(FileExistsError, match="not empty"):
        train_nights(more)
    train_nights(replace(more, methods=("pseudo_label",), resume=True))
    after = results(run)
    assert set(after["nights"]) == {"student", "kd", "pseudo_label"}
    assert after["nights"]["kd"] == before["nights"]["kd"]
    assert load_night_model(run, "pseudo_label").method == "pseudo_label"


def test_clips_and_signals_together_with_an_eeg_teacher_for_a_live_night(prepared, tmp_path):
    own = options(
        prepared, tmp_path / "run", sees="video_body", context="causal", weighted=True, methods=()
    )
    found = train_nights(replace(own, methods=("sacd",)))
    assert found["teacher"]["seconds"][0] > 0
    model = load_night_model(tmp_path / "run")
    assert model.context.causal and model.modalities == ("video", "body")
    night = read_night(prepared, "s03-n1")
    assert night.video is not None and night.body is not None
    video = torch.tensor(np.array(night.video)).float()[:, None] / 255
    body = torch.tensor(np.array(night.body)).nan_to_num()
    rows, valid = model.embed({"video": video, "body": body}), torch.ones(EPOCHS, dtype=torch.bool)
    whole = model.stage(rows, valid)
    torch.testing.assert_close(model.stage(rows[:10], valid[:10]), whole[:10])


def test_every_sleeper_is_held_out_once(prepared, tmp_path):
    own = options(prepared, tmp_path / "run", sees="body", teacher="yasa", context="hmm", folds=5)
    found = train_nights(replace(own, val_subjects=(), test_subjects=()))
    for method in ("student", "kd"):
        for context in ("epoch", "hmm"):
            runs = found["nights"][method][context]["runs"]
            assert [one["name"] for one in runs] == ["s01", "s02", "s03", "s04", "s05"]
    assert found["nights"]["kd"]["hmm"]["runs"][0]["epochs"] == 2 * (EPOCHS - 2)  # two nights
    with pytest.raises(ValueError, match="holds the folds"):
        load_night_model(tmp_path / "run")
    assert load_night_model(tmp_path / "run" / "fold3").context.kind == "hmm"


def test_a_lab_without_a_scorer(prepared, tmp_path):
    root = tmp_path / "unscored"
    before = read_prepared(prepared)
    for name in before.nights:
        night = read_night(prepared, name)
        write_night(root, night._replace(stages=np.full_like(night.stages, -1)))
    write_prepared(root, before.options, before.nights)
    yasa = {"teacher": "yasa", "labels": ("yasa",), "sees": "body", "context": "none"}
    with pytest.warns(UserWarning, match=r"epochs are not trained on, for their marks: no_eeg 3"):
        found = train_nights(options(root, tmp_path / "run", **yasa, exclude=(Mark.NO_EEG,)))
    assert found["judge"] == "yasa" and load_night_model(tmp_path / "run").context.kind == "none"
    with pytest.raises(ValueError, match="have no epoch with a label to be judged by"):
        train_nights(options(root, tmp_path / "other"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--teacher", "yasa", "--methods", "sacd"], "YASA gives probabilities alone"),
        (["--methods", "kdd"], "did you mean"),
        (["--student", "video_smal"], "did you mean 'video_small'"),
        (["--val-subjects", "s01"], "both and without folds"),
        (["--labels", "s09"], "some of the subjects for training"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_training(prepared, tmp_path, capsys, flags, message):
    assert main(["train", str(prepared), "--out", str(tmp_path / "run"), *flags]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_not_prepared_is_told(tmp_path, capsys):
    assert main(["train", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "prepared.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("scored", "s01")}, "--labels is scored, or yasa, or subjects"),
        ({"teacher": "yasa", "case": "cross_fitted"}, "there is no other case"),
        ({"context_epochs": 0}, "--context-epochs at least 1"),
        ({"context_distil": -1.0}, "--context-distil must be 0 or more"),
    ],
)
def test_options_that_contradict_each_other_are_refused(prepared, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        options(prepared, tmp_path, **changes)


def test_films_that_were_prepared_in_two_ways_are_refused(prepared, tmp_path):
    root = tmp_path / "odd"
    before = read_prepared(prepared)
    for name in before.nights:
        night = read_night(prepared, name)
        if name == "s02-n1":
            other = {**night.facts["video"], "body_rate_hz": 5}
            night = night._replace(facts={**night.facts, "video": other})
        write_night(root, night)
    write_prepared(root, before.options, before.nights)
    with pytest.raises(ValueError, match=r"prepared in different ways .*same options"):
        train_nights(options(root, tmp_path / "run"))


def test_a_bed_may_lie_elsewhere_in_every_film(prepared):
    first, second = read_night(prepared, "s01-n1"), read_night(prepared, "s02-n1")
    region = [0.0, 0.0, 0.5, 1.0]
    moved = second._replace(facts={"video": {**second.facts["video"], "region": region}})
    unfilmed = second._replace(facts={"video": None})  # as prepared from EEG alone
    assert film_options([first, unfilmed, second]) == (film_options([first])[0], [])
    video, notes = film_options([first, moved])
    assert video.region is None and "region of its own" in notes[0]
    video, notes = film_options([moved, unfilmed])
    assert video.region == (0.0, 0.0, 0.5, 1.0) and not notes
    with pytest.raises(ValueError, match="no night was prepared with a film"):
        film_options([unfilmed])


@pytest.mark.slow
def test_the_benchmark_script_takes_the_same_path(prepared, tmp_path):
    flags = f"--data {prepared} --layout nights --methods kd --max-epochs 1 --teacher-epochs 1"
    flags += " --batch-size 16 --labelled-per-batch 8 --labelled-groups 1 --accelerator cpu"
    flags += f" --out {tmp_path / 'run'}"
    done = subprocess.run(
        [sys.executable, "benchmarks/s3ve.py", *flags.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "kd, hmm" in done.stdout and "limits of agreement" in done.stdout
    assert load_night_model(tmp_path / "run").modalities == ("video",)


def test_the_sample_has_the_columns_of_a_prepared_folder(prepared):
    with (prepared / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * EPOCHS and rows[2]["marks"] == "no_video"


@pytest.mark.slow
def test_the_recipe_learns_from_yasa(prepared, tmp_path):
    """A teacher without an embedding: the graph of its targets is the student's alone."""
    few = {"labels": ("s01",), "labelled_per_batch": 4, "context": "hmm"}
    own = options(prepared, tmp_path / "run", sees="body", teacher="yasa", **few)
    found = train_nights(replace(own, methods=("recipe",)))
    assert found["recipe"]["accuracy"] > 0 and "hmm" in found["nights"]["recipe"]
    assert load_night_model(tmp_path / "run", "recipe").method == "recipe"
