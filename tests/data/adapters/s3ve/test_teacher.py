"""The corpus of the sleepers elsewhere, on which a teacher is trained."""

import shutil

import numpy as np
import pytest
import torch

from tests.data.adapters.s3ve.release import annotate, annotations
from xdistill.data.adapters.s3ve import s3ve, teacher_rows


def test_rows_are_eeg_alone_by_subject_and_time(whole):
    rows = teacher_rows(whole / "elsewhere")
    assert rows.modalities == ("eeg",) and rows.classes == s3ve(whole, frames=2).train.classes
    assert rows.group.tolist() == [0] * 12 + [1] * 12
    assert rows.start_s is not None and rows.start_s[:12].diff().gt(0).all()
    database = annotations(whole / "elsewhere")["database"]
    for row in (0, 13):
        label = database[rows.ids[row]]["annotations"]["label"]
        assert rows.classes[rows.target[row]] == label
        kept = np.load(whole / "elsewhere" / "eeg" / label / f"{rows.ids[row]}.npy")
        assert rows.read("eeg", row).equal(torch.from_numpy(kept)[None])


def test_no_sleeper_elsewhere_is_one_of_the_splits(whole):
    elsewhere = {one.partition("_")[0] for one in teacher_rows(whole / "elsewhere").ids}
    for part in s3ve(whole, frames=2):
        assert not elsewhere & {one.partition("_")[0] for one in part.ids}


def test_without_a_root_the_rows_are_the_samples(whole, monkeypatch):
    monkeypatch.setattr("xdistill.data.adapters.s3ve.teacher.generate", lambda: whole)
    assert teacher_rows().ids == teacher_rows(whole / "elsewhere").ids


def test_any_corpus_in_the_layout_may_teach_all_its_subsets(whole):
    assert len(teacher_rows(whole)) == 4 * 12


def test_a_clip_without_eeg_is_left_out_and_told(root):
    corpus = root / "elsewhere"
    first = next(corpus.glob("eeg/*/*.npy"))
    first.unlink()
    with pytest.warns(UserWarning, match=f"1 of 24 clips have no EEG file .first: {first.stem}"):
        rows = teacher_rows(corpus)
    assert len(rows) == 23 and first.stem not in rows.ids


def test_a_corpus_without_eeg_or_annotations_is_refused(root):
    shutil.rmtree(root / "elsewhere" / "eeg")
    with (
        pytest.warns(UserWarning, match="24 of 24 clips"),
        pytest.raises(ValueError, match="no clip of .* has an EEG file"),
    ):
        teacher_rows(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="s3ve.json is missing"):
        teacher_rows(root / "nowhere")


def test_subjects_may_be_read_from_the_ids(root):
    corpus = root / "elsewhere"
    annotate(corpus, lambda database: [entry.pop("subject") for entry in database.values()])
    with pytest.raises(ValueError, match="no key 'subject'"):
        teacher_rows(corpus)
    assert teacher_rows(corpus, subject_pattern=r"^(e\d+)_").group.unique().tolist() == [0, 1]
