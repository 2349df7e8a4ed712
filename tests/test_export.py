import json

import pytest
import torch

import xdistill as xd
from xdistill.export import load_student, save_student


def test_a_student_comes_back_from_its_run_folder(tmp_path):
    options = {"in_features": 6, "num_classes": 3, "dim": 8}
    encoder = xd.create_encoder("mlp", **options).eval()
    save_student(tmp_path, encoder, name="mlp", options=options, classes="abc", config={"lr": 1})
    student = load_student(tmp_path)
    x = torch.randn(5, 6)
    torch.testing.assert_close(student.encoder(x).logits, encoder(x).logits)
    assert student.classes == ("a", "b", "c")
    assert json.loads((tmp_path / "config.json").read_text())["lr"] == 1


def test_an_empty_or_unfinished_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_student(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="has not finished; continue it"):
        load_student(tmp_path)
