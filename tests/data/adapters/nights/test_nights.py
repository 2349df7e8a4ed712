"""The prepared folder: written whole or not at all, read back, and damage refused."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import xdistill as xd
from xdistill.data.adapters.nights import (
    NightStatus,
    NightWriter,
    night_and_epoch,
    read_night,
    read_prepared,
    remove_abandoned,
    usable,
    write_epochs,
    write_night,
    write_prepared,
)
from xdistill.data.adapters.nights.layout import NO_VIDEO
from xdistill.data.samples import write_nights_sample
from xdistill.data.sleep_stages import STAGES
from xdistill.sleep.marks import Mark


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_nights_sample(tmp_path_factory.mktemp("nights") / "prepared", epochs=24)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of one small night that a test may damage."""
    with NightWriter(tmp_path, "n1", subject="s1", epochs=3, video=(2, 8), body=(1, 4)) as writer:
        for epoch in range(2):
            clip = np.full((2, 8, 8), 10 * epoch, np.uint8)
            writer.put_video(epoch, clip, np.ones((1, 4), np.float32), marks=[Mark.DARK])
        writer.put_signal("eeg", np.zeros((3, 1, 3000)))
        writer.finish(stages=np.array([0, 4, -1]), start="2024-01-01T22:00:00")
    write_prepared(tmp_path, {}, {"n1": NightStatus("s1", "done")})
    return tmp_path


def test_a_night_is_read_as_it_was_written(made, tmp_path):
    before = read_night(made, "s01-n1")
    write_night(tmp_path, before)
    after = read_night(tmp_path, "s01-n1")
    for name in ("start_s", "stages", "yasa", "video", "body"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.signals["eeg"], before.signals["eeg"])
    np.testing.assert_allclose(after.features, before.features, rtol=1e-5)
    assert after.marks == before.marks
    assert after.facts == before.facts
    assert isinstance(after.video, np.memmap)


def test_what_was_not_put_is_marked(root):
    night = read_night(root, "n1")
    assert NO_VIDEO == Mark.NO_VIDEO
    assert night.marks == ({Mark.DARK}, {Mark.DARK}, {Mark.NO_VIDEO})
    assert usable(night, "video").tolist() == [True, True, False]
    assert usable(night, "body").tolist() == [True, True, False]
    assert usable(night, "eeg").all()
    assert not usable(night, "emg").any()


def test_an_unfinished_night_leaves_nothing(tmp_path):
    with (
        pytest.raises(KeyError),
        NightWriter(tmp_path, "n1", subject="s1", epochs=3, video=(2, 8)),
    ):
        raise KeyError
    assert not list((tmp_path / "nights").iterdir())
    NightWriter(tmp_path, "n2", subject="s1", epochs=3, video=(2, 8))  # killed
    assert len(list((tmp_path / "nights").iterdir())) == 1
    remove_abandoned(tmp_path)
    assert not list((tmp_path / "nights").iterdir())


def test_a_night_is_replaced_as_a_whole(root):
    with NightWriter(root, "n1", subject="s1", epochs=1) as writer:
        writer.finish()
    night = read_night(root, "n1")
    assert night.video is None and not night.signals and night.stages.tolist() == [-1]
    assert [path.name for path in (root / "nights").iterdir()] == ["n1"]


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("video.npy", lambda p: p.unlink(), "video.npy is missing"),
        ("eeg.npy", lambda p: os.truncate(p, 500), "eeg.npy does not match its checksum"),
        ("epochs.csv", lambda p: p.write_text(p.read_text() + "3,90,W,,\n"), "checksum"),
        ("night.json", lambda p: p.write_text(p.read_text().replace("s1", "s2")), "checksum"),
        ("night.json", lambda p: p.unlink(), "no night 'n1' was prepared"),
    ],
)
def test_damage_is_refused_with_what_to_do(root, file, damage, message):
    damage(root / "nights" / "n1" / file)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_night(root, "n1")
    assert "prepare" in str(caught.value) or "restore" in str(caught.value)


def test_unchecked_reading_still_sees_a_truncated_array(root):
    os.truncate(root / "nights" / "n1" / "eeg.npy", 500)
    with pytest.raises(ValueError, match=r"damaged: eeg.npy cannot be read.*prepare"):
        read_night(root, "n1", check=False)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda w: w.put_video(0, np.zeros((2, 8, 8))), "float64 .*made for"),
        (lambda w: w.put_video(0, np.zeros((2, 9, 9), np.uint8)), r"\(2, 9, 9\), the night was"),
        (lambda w: w.put_video(3, None), "epochs 0 to 2, got 3"),
        (lambda w: w.put_video(0, None, None, [1.0]), "1 features, expected none"),
        (lambda w: w.put_marks(0, ["two words"]), "a mark is one word"),
        (lambda w: w.put_signal("ecg", np.zeros((3, 1, 9))), "eeg, eog, emg, resp.*'ecg'"),
        (lambda w: w.put_signal("eeg", np.zeros((2, 1, 9))), r"\[3, channels, samples\]"),
        (lambda w: w.finish(stages=np.array([0, 5, 1])), "whole numbers from -1 to 4"),
        (lambda w: w.finish(yasa=np.ones((3, 5))), "no probabilities"),
        (lambda w: w.finish(yasa=np.ones((3, 4))), r"must be \[3, 5\]"),
    ],
)
def test_wrong_values_are_refused_when_they_are_put(tmp_path, put, message):
    with (
        NightWriter(tmp_path, "n", subject="s", epochs=3, video=(2, 8)) as writer,
        pytest.raises(ValueError, match=message),
    ):
        put(writer)


def test_names_that_lead_elsewhere_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the night '../n' is to be part of a path"):
        NightWriter(tmp_path, "../n", subject="s", epochs=3)


def test_the_table_of_all_nights(made):
    lines = write_epochs(made).read_text().splitlines()
    assert lines[0] == ("subject,night,epoch,start_s,stage,yasa,activity,breathing_amplitude,marks")
    assert len(lines) == 1 + 5 * 24
    assert "s01,s01-n2,2,60," in "\n".join(lines)


def test_prepared_json_is_checked(root):
    assert read_prepared(root).done == ("n1",)
    path = root / "prepared.json"
    path.write_text(json.dumps({"format": 1, "options": {}, "nights": {}}))
    with pytest.raises(ValueError, match="has no checksum"):
        read_prepared(root)


def test_rows_are_nights_in_order_with_what_they_lack(made):
    splits = xd.create_dataset("nights", root=made, seed=1)
    whole = xd.PairedDataset.concat(splits, same_groups=False)
    assert len(whole) == 5 * 24
    assert {p.group_names for p in splits} == {("s01", "s02", "s03", "s04")}
    for part in splits:
        places = [night_and_epoch(name) for name in part.ids]
        assert places == sorted(places)
        assert part.classes == STAGES
        for night in {night for night, _ in places}:
            assert not part.has("video", part.ids.index(f"{night}/0002"))
            assert not part.has("eeg", part.ids.index(f"{night}/0003"))
            assert not part.labelled[part.ids.index(f"{night}/0023")]
    row = splits.train[0]
    night = read_night(made, night_and_epoch(splits.train.ids[0])[0])
    assert night.video is not None and night.body is not None
    torch.testing.assert_close(row.inputs["video"][0] * 255, torch.tensor(night.video[0]).float())
    torch.testing.assert_close(row.inputs["body"], torch.tensor(night.body[0]))
    torch.testing.assert_close(row.inputs["eeg"], torch.tensor(night.signals["eeg"][0]))


def test_both_nights_of_a_subject_stay_together(made):
    splits = xd.create_dataset(
        "nights", root=made, val_subjects=["s02"], test_subjects=["s01"], modalities=["body"]
    )
    assert {night_and_epoch(name)[0] for name in splits.test.ids} == {"s01-n1", "s01-n2"}
    assert {name[:3] for name in splits.train.ids} == {"s03", "s04"}


def test_every_subject_is_held_out_once(made):
    tested = []
    for fold in range(4):
        splits = xd.create_dataset("nights", root=made, folds=4, fold=fold)
        tested += {name[:3] for name in splits.test.ids}
    assert sorted(tested) == ["s01", "s02", "s03", "s04"]


def test_labels_of_some_subjects_alone(made):
    options = {"root": made, "val_subjects": ["s01"], "test_subjects": ["s02"]}
    splits = xd.create_dataset("nights", labels=["s03"], **options)
    labelled = {splits.train.ids[row][:3] for row in splits.train.labelled.nonzero().flatten()}
    assert labelled == {"s03"}
    assert splits.val.labelled.sum() == 2 * 23  # judged by their scorer all the same
    with pytest.raises(ValueError, match="some of the subjects for training"):
        xd.create_dataset("nights", labels=["s01"], **options)


def unscored(made: Path, root: Path, scored: tuple[str, ...]) -> Path:
    """The nights of a lab that has scored few."""
    prepared = read_prepared(made)
    for name, status in prepared.nights.items():
        night = read_night(made, name)
        if status.subject not in scored:
            night = night._replace(stages=np.full_like(night.stages, -1))
        write_night(root, night)
    write_prepared(root, prepared.options, prepared.nights)
    return root


def test_sleepers_without_labels_are_never_held_out(made, tmp_path):
    root = unscored(made, tmp_path, ("s02", "s03", "s04"))
    for seed in range(6):
        splits = xd.create_dataset("nights", root=root, seed=seed)
        assert {name[:3] for name in splits.train.ids} >= {"s01"}
    with pytest.raises(ValueError, match=r"\['s01'\] have no epoch with a label to be judged by"):
        xd.create_dataset("nights", root=root, val_subjects=["s02"], test_subjects=["s01"])


def test_sleepers_without_a_film_teach_and_are_never_held_out(made, tmp_path):
    """EEG alone trains the teacher; a student of films cannot be judged by it."""
    prepared = read_prepared(made)
    for name, status in prepared.nights.items():
        night = read_night(made, name)
        write_night(tmp_path, night._replace(video=None) if status.subject == "s01" else night)
    write_prepared(tmp_path, prepared.options, prepared.nights)
    options = {"root": tmp_path, "modalities": ("video", "eeg"), "sees": ("video",)}
    for seed in range(6):
        splits = xd.create_dataset("nights", seed=seed, **options)
        for part in (splits.val, splits.test):
            assert part.rows_with("video").any()
        assert {name[:3] for name in splits.train.ids} >= {"s01"}
    with pytest.raises(ValueError, match=r"\['s01'\] have no epoch with a label .* and video"):
        xd.create_dataset("nights", val_subjects=["s02"], test_subjects=["s01"], **options)
    with pytest.raises(ValueError, match="folds must be from 2 to .* 3"):
        xd.create_dataset("nights", folds=4, **options)


def test_a_lab_without_a_scorer_learns_from_yasa(made, tmp_path):
    root = unscored(made, tmp_path, ())
    with pytest.raises(ValueError, match=r"0 of 4 sleepers have epochs with a label.*judge='yasa'"):
        xd.create_dataset("nights", root=root)
    splits = xd.create_dataset("nights", root=root, labels="yasa", teacher="yasa")
    for part in splits:
        stages = part.cached["eeg"].logits
        assert stages is not None and part.rows_with("eeg").sum() == part.labelled.sum()
        known = part.labelled
        assert (stages.argmax(dim=1) == part.target)[known].all()


def test_marked_epochs_are_left_out_of_training_with_a_warning(made):
    plain = xd.create_dataset("nights", root=made)
    with pytest.warns(UserWarning, match=r"not trained on, for their marks: no_video \d+, no_eeg"):
        fewer = xd.create_dataset("nights", root=made, exclude=("no_video", "no_eeg", "dark"))
    nights = len({night_and_epoch(name)[0] for name in plain.train.ids})
    assert len(plain.train) - len(fewer.train) == 2 * nights
    assert len(plain.test) == len(fewer.test)


def test_failed_nights_are_told(made, root):
    nights = {"n1": NightStatus("s1", "done"), "n2": NightStatus("s2", "failed", "no film")}
    write_prepared(root, {}, nights)
    with (
        pytest.warns(UserWarning, match=r"1 of 2 nights were not prepared .* \(n2\)"),
        pytest.raises(ValueError, match="sleepers have epochs with a label"),
    ):
        xd.create_dataset("nights", root=root)


def test_nights_of_other_shapes_are_refused(made, tmp_path):
    root = unscored(made, tmp_path, ("s01", "s02", "s03", "s04"))
    odd = read_night(root, "s02-n1")
    assert odd.video is not None
    write_night(root, odd._replace(video=np.array(odd.video[:, :, :8, :8])))
    with pytest.raises(ValueError, match=r"video of the shapes \[\(30, 8, 8\), \(30, 16, 16\)\]"):
        xd.create_dataset("nights", root=root)


def test_rows_are_read_in_other_processes(made):
    train = xd.create_dataset("nights", root=made).train
    first = train[0].inputs
    again = pickle.loads(pickle.dumps(train))[0].inputs
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "guessed"}, "labels is 'scored', 'yasa' or subjects"),
        ({"judge": "me"}, "judge is 'scored'"),
        ({"teacher": "me"}, "teacher is 'yasa' or None"),
        ({"val_subjects": ["s01"]}, "both and without folds"),
        ({"modalities": ["emg"]}, "none of the 5 nights has emg"),
        ({"test_subjects": ["s09"], "val_subjects": ["s01"]}, "no group 's09'"),
    ],
)
def test_options_are_checked(made, options, message):
    with pytest.raises(ValueError, match=message):
        xd.create_dataset("nights", root=made, **options)
