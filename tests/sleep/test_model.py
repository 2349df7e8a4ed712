"""A night model comes back from its run as it was saved, and masks what it did not see."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xdistill.data.sleep_stages import STAGES
from xdistill.encoders.body import joined_row
from xdistill.export import save_student
from xdistill.registry import create_encoder
from xdistill.sleep.context.head import ContextHead, staged
from xdistill.sleep.context.hmm import Hmm, smooth
from xdistill.sleep.model import (
    Context,
    NightFacts,
    NightModel,
    load_night_model,
    save_night_model,
    video_options,
)
from xdistill.sleep.video_options import VideoOptions

VIDEO = VideoOptions(frames=4, size=8, region=(0.1, 0.0, 0.9, 1.0), grid=1)
SHAPE = {"frames": 4, "size": 8, "body_channels": 3, "body_samples": 300}
HMM = Hmm(
    (0.2,) * 5, ((0.2,) * 5,) * 4 + ((0.1, 0.1, 0.1, 0.1, 0.6),), (0.3, 0.1, 0.3, 0.2, 0.1), 0.5
)
SIGNALS = {"names": ["activity"], "mean": [0.1], "sd": [0.01], "correlation": None, "nights": 3}
HELD_OUT = {"judge": "scored", "sleepers": [{"name": "s1", "kappa": float("nan")}], "four": {}}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of a student of clips and signals: alone, and with a context network as method kd."""
    torch.manual_seed(0)
    encoder = create_encoder("video_body", num_classes=5, **SHAPE)
    kept = {"kept": {"method": "kd", "seed": 0}}
    students = {"students": {"student": ["seed0/student"], "kd": ["seed0/kd"]}}
    options = {"num_classes": 5, **SHAPE}
    names = {"name": "video_body", "options": options, "classes": STAGES}
    save_student(tmp_path, encoder, **names, config={**kept, **students})
    for folder in ("seed0/student", "seed0/kd"):
        (tmp_path / folder).mkdir(parents=True)
        data = (tmp_path / "student.safetensors").read_bytes()
        (tmp_path / folder / "weights.safetensors").write_bytes(data)
    head = ContextHead(encoder.dim, 5, width=8)
    torch.nn.init.normal_(head.add.weight)
    file = "seed0/kd/context.safetensors"
    contexts = {
        "student": Context("hmm", causal=True, hmm=HMM),
        "kd": Context("head", hmm=HMM, head=file, options=head.options),
    }
    students = {name: [{"context": c, "held_out": HELD_OUT}] for name, c in contexts.items()}
    save_night_model(tmp_path, NightFacts("video_body", VIDEO, SIGNALS, students), {file: head})
    return tmp_path


def epochs(count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "video": torch.rand(count, 1, 4, 8, 8, generator=generator),
        "body": torch.rand(count, 3, 300, generator=generator),
    }


def test_the_model_is_the_kept_student_with_itshead(run):
    model = load_night_model(run)
    assert (model.method, model.seed, model.context.kind) == ("kd", 0, "head")
    assert model.modalities == ("video", "body") and model.classes == STAGES
    assert model.preprocessing == VIDEO
    assert model.training_signals == SIGNALS
    assert model.held_out["sleepers"][0]["name"] == "s1"
    rows = model.embed(epochs(6))
    valid = torch.ones(6, dtype=torch.bool)
    found = model.stage(rows, valid)
    assert model.head is not None
    torch.testing.assert_close(found, staged(model.head, rows, valid))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))
    assert not torch.allclose(found, rows[:, -5:].softmax(dim=1))
    assert "context='head'" in repr(model)


def test_any_student_of_the_run_can_be_loaded(run):
    model = load_night_model(run, "student")
    rows, valid = model.embed(epochs(6)), torch.tensor([True, True, False, True, True, True])
    found = model.stage(rows, valid)
    expected = smooth(HMM, rows[:, -5:].softmax(dim=1), valid, causal=True)
    torch.testing.assert_close(found[valid], expected[valid])
    assert bool(found[~valid].isnan().all())
    with pytest.raises(ValueError, match="no student of method 'sacd' and seed 0"):
        load_night_model(run, "sacd")
    with pytest.raises(ValueError, match="seed 3"):
        load_night_model(run, "kd", 3)


def test_what_was_not_seen_does_not_matter(run):
    for method in ("kd", "student"):
        model = load_night_model(run, method)
        rows, valid = model.embed(epochs(6)), torch.tensor([True, False, True, True, True, False])
        other = rows.clone()
        other[~valid] = torch.nan
        torch.testing.assert_close(
            model.stage(rows, valid), model.stage(other, valid), equal_nan=True
        )


def test_without_context_each_epoch_stands_alone(run):
    model = load_night_model(run)
    facts = NightFacts("video_body", VIDEO, SIGNALS, {})
    plain = NightModel(model.encoder, facts, STAGES, Context("none"))
    batch = epochs(3)
    row = joined_row(batch["video"][1], batch["body"][1])
    with torch.no_grad():
        expected = model.encoder(row[None]).logits.softmax(dim=1)
    found = plain.stage(plain.embed(batch), torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(found[1:2], expected)


def test_missing_and_bad_inputs_are_told(run):
    model = load_night_model(run)
    with pytest.raises(ValueError, match=r"reads video and body.*\['body'\] is missing"):
        model.embed({"video": epochs(1)["video"]})
    bad = epochs(2)
    bad["body"][1, 0, 5] = torch.nan
    with pytest.raises(ValueError, match="NaN in video_body; leave it out"):
        model.embed(bad)


def test_what_is_no_night_model_is_told(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="name the folder of a run of `xdistill train`"):
        load_night_model(tmp_path / "nowhere")
    config = run / "config.json"
    config.write_text(config.read_text().replace('"frames": 4', '"frames": 5'))
    with pytest.raises(ValueError, match="does not match its checksum"):
        load_night_model(run)
    (run / "folds.json").write_text("{}")
    with pytest.raises(ValueError, match="holds the folds of a cross-validation"):
        load_night_model(run)


def test_a_student_of_another_benchmark_is_told(tmp_path):
    encoder = create_encoder("body_small", num_classes=5, in_channels=3)
    options = {"num_classes": 5, "in_channels": 3}
    save_student(tmp_path, encoder, name="body_small", options=options, classes=STAGES)
    with pytest.raises(ValueError, match="was not made by `xdistill train`"):
        load_night_model(tmp_path)


def test_damaged_head_weights_are_refused(run):
    file = run / "seed0/kd/context.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="context.safetensors"):
        load_night_model(run)


def test_options_of_films_that_are_unknown_are_refused():
    kept = {"frames": 4, "size": 8, "region": [0.1, 0.0, 0.9, 1.0], "grid": 1}
    assert video_options(kept) == VIDEO
    assert video_options({**kept, "region": None}) == replace(VIDEO, region=None)
    with pytest.raises(ValueError, match=r"options \['lens'\], which this version"):
        video_options({**kept, "lens": 1})
