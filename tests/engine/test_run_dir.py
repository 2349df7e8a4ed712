"""A checkpoint that is damaged or foreign, and two runs in one folder."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import xdistill as xd
from tests.toy import toy_data, toy_encoders
from xdistill.encoders import load_weights
from xdistill.engine import fit
from xdistill.engine.run_dir import CHECKPOINT
from xdistill.engine.saving import read_saved
from xdistill.storage import lock

ROOT = Path(__file__).parents[2]
QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def train(folder: Path, epochs: int = 2, **options):
    student, teacher = toy_encoders()
    distiller = xd.Distiller(student, teacher, xd.CrossEntropy() + xd.KD())
    train, val = toy_data(), toy_data(30, seed=1)
    loaders = xd.paired_loader(train, 16, shuffle=True), xd.paired_loader(val, 16)
    result = fit(distiller, *loaders, max_epochs=epochs, run_dir=folder, **QUIET, **options)
    return student, result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    student, result = train(folder)
    return folder / CHECKPOINT, student, result


def test_the_best_student_is_loaded_from_the_checkpoint(run):
    checkpoint, student, _ = run
    other, _ = toy_encoders()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    load_weights(other, str(checkpoint))
    want, got = student.state_dict(), other.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_a_flipped_bit_of_the_checkpoint_never_changes_what_is_resumed(run, tmp_path):
    whole = run[0].read_bytes()
    path, draw, noticed = tmp_path / CHECKPOINT, random.Random(0), 0
    right = torch.load(run[0], weights_only=True)
    for _ in range(150):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            assert read_saved(path).epochs == 2
        except ValueError as error:
            assert str(path) in str(error) and "delete it" in str(error)
            noticed += 1
        else:  # padding or a date in the zip
            assert same(torch.load(path, weights_only=True), right), f"bit {bit} of byte {at}"
    assert noticed > 75


def same(one, two) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("epoch"), "has no int at 'epoch'"),
        (lambda state: state.update(epoch="two"), "has no int at 'epoch'"),
        (lambda state: state.update(callbacks={}), "has no list at 'callbacks.RunState.history'"),
        (lambda state: state.pop("optimizer_states"), "has no list at 'optimizer_states'"),
    ],
)
def test_a_foreign_checkpoint_is_one_sentence(run, tmp_path, spoil, message):
    state = torch.load(run[0], weights_only=True)
    spoil(state)
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match=f"{message}.*delete it to start that run anew"):
        train(tmp_path, resume=True)


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="has no int at 'epoch'"):
        read_saved(tmp_path / CHECKPOINT)


def test_a_full_disk_names_the_checkpoint_and_keeps_the_old_one(tmp_path):
    train(tmp_path, epochs=1)
    before, limits = (tmp_path / CHECKPOINT).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match=r"last\.ckpt cannot be written"):
            train(tmp_path, epochs=2, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [CHECKPOINT]


def test_of_runs_that_start_together_one_trains_and_the_others_are_told(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.engine.test_run_dir import train;"
        "from xdistill.storage import lock; lock.WAIT_S = 0.1;"
        "train(Path(sys.argv[1]), epochs=12)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    started = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    errors = [one.communicate()[1] for one in started]
    assert sorted(bool(one.returncode) for one in started) == [False, True, True], errors
    for one, error in zip(started, errors, strict=True):
        last = error.strip().splitlines()[-1] if one.returncode else ""
        assert not one.returncode or "another run is at work" in last or "is not empty" in last
    assert [one.name for one in (tmp_path / "run").iterdir()] == [CHECKPOINT]


def test_resuming_beside_a_run_that_goes_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    with lock.alone_in(tmp_path), pytest.raises(FileExistsError, match="another run is at work"):
        train(tmp_path, resume=True)
