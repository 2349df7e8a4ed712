import json
import random

import pytest
import torch
from torch import nn

import xdistill as xd
from xdistill.export import STUDENTS, load_student, save_student
from xdistill.report import write_json

OPTIONS = {"in_features": 6, "num_classes": 3, "dim": 8}


def student() -> nn.Module:
    return xd.create_encoder("mlp", **OPTIONS).eval()


def save(folder, encoder, **changes) -> None:
    save_student(
        folder, encoder, **{"name": "mlp", "options": OPTIONS, "classes": "abc", **changes}
    )


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_student_comes_back_from_its_run_folder(tmp_path, kind):
    encoder = student()
    save(kind(tmp_path), encoder, config={"lr": 1})
    loaded = load_student(kind(tmp_path))
    x = torch.randn(5, 6)
    torch.testing.assert_close(loaded.encoder(x).logits, encoder(x).logits)
    assert loaded.classes == ("a", "b", "c")
    assert json.loads((tmp_path / "config.json").read_text())["lr"] == 1


def test_an_empty_or_unfinished_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_student(tmp_path)
    write_json(tmp_path / "config.json", {})
    with pytest.raises(FileNotFoundError, match="has not finished; continue it"):
        load_student(tmp_path)


@pytest.mark.parametrize("config", [{"encoder": {}}, {"encoder": 3}, {"encoder": {"name": "mlp"}}])
def test_a_foreign_config_is_one_sentence(tmp_path, config):
    write_json(tmp_path / "config.json", config)
    with pytest.raises(ValueError, match=r"config\.json is not one that save_student wrote"):
        load_student(tmp_path)


def test_an_edited_config_is_said(tmp_path):
    save(tmp_path, student())
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"a"', '"z"'))
    with pytest.raises(ValueError, match=r"config\.json does not match its checksum: it was"):
        load_student(tmp_path)


def test_weights_without_a_checksum_are_no_student_of_ours(tmp_path):
    from safetensors.torch import save_file

    encoder = student()
    save(tmp_path, encoder)
    save_file(encoder.state_dict(), tmp_path / "student.safetensors")
    with pytest.raises(ValueError, match="it has no checksum"):
        load_student(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {**OPTIONS, "dim": 9}}, "could not be loaded again: .*another shape"),
        ({"options": {"in_features": 6, "dim": 8}}, "could not be loaded again"),
        ({"options": {**OPTIONS, "dim": torch.int8}}, "cannot be kept in config.json"),
        ({"classes": "ab"}, "has 3 classes, but 2 names"),
        ({"name": "mpl"}, "did you mean"),
    ],
)
def test_a_save_that_could_not_be_loaded_fails_at_save(tmp_path, changes, message):
    encoder, state = student(), torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "run", encoder, **changes)
    assert not (tmp_path / "run").exists()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_a_wrapped_student_is_saved_as_itself(tmp_path, wrap):
    encoder = student()
    save(tmp_path, wrap(encoder))
    x = torch.randn(5, 6)
    torch.testing.assert_close(load_student(tmp_path).encoder(x).logits, encoder(x).logits)


def test_the_student_of_any_file_and_any_run_of_the_folder(tmp_path):
    kept, other = student(), student()
    runs = {"kd": ["seed0/kd/one", "seed1/kd/one"]}
    save(tmp_path, kept, config={STUDENTS: runs})
    xd.encoders.save_weights(other, tmp_path / runs["kd"][1] / "weights.safetensors")
    torch.save({"state_dict": torch.compile(other).state_dict()}, tmp_path / "other.pt")
    x = torch.randn(5, 6)
    for loaded in (
        load_student(str(tmp_path), method="kd", seed=1),
        load_student(tmp_path / "other.pt"),
    ):
        torch.testing.assert_close(loaded.encoder(x).logits, other(x).logits)
    with pytest.raises(ValueError, match=r"no student of method 'sacd' and seed 0; .*'kd': 2"):
        load_student(tmp_path, method="sacd")
    with pytest.raises(ValueError, match="no student of method 'kd' and seed 2"):
        load_student(tmp_path, method="kd", seed=2)


def test_a_flipped_bit_of_the_folder_never_gives_another_student(tmp_path):
    save(tmp_path, student())
    x = torch.randn(5, 6)
    right, draw = load_student(tmp_path), random.Random(0)
    expected = right.encoder(x).logits
    for name in ("config.json", "student.safetensors"):
        path = tmp_path / name
        whole, noticed = path.read_bytes(), 0
        for _ in range(150):
            at, bit = draw.randrange(len(whole)), draw.randrange(8)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                again = load_student(tmp_path)
            except (ValueError, FileNotFoundError):
                noticed += 1
            else:
                assert torch.equal(again.encoder(x).logits, expected), f"{name}: byte {at}"
                assert again.classes == right.classes
        assert noticed == 150
        path.write_bytes(whole)
