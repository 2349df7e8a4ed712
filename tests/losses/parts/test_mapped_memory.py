"""Banks in files against the same banks in memory."""

from __future__ import annotations

import copy
import errno
import io
import os
import subprocess
import sys

import lightning as L
import numpy as np
import pytest
import torch

from tests.losses.batches import SAMPLES, bound_loss, random_batch, step
from tests.toy import toy_data, toy_encoders
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.crd import CRD
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.parts import crd_memory

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""


def crd(folder=None, seed=7, **options):
    return bound_loss("crd", seed=seed, memory_map=folder, num_negatives=4, dim=3, **options)


def steps(loss, seeds):
    return [step(loss, random_batch(seed=seed), seed=seed).tensors() for seed in seeds]


def same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_it_is_the_bank_in_memory(tmp_path):
    mapped, plain = crd(tmp_path / "new" / "banks"), crd()
    same(steps(mapped, range(4)), steps(plain, range(4)))
    same(dict(mapped.state_dict()), dict(plain.state_dict()))
    written = np.fromfile(tmp_path / "new" / "banks" / "student.float32", dtype=np.float32)
    assert (written.reshape(SAMPLES, 3) == plain.memory.student.numpy()).all()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_resume_is_exact(tmp_path, before, after):
    """Between maps, and between a map and memory, with the normaliser of the first step."""
    loss = crd(tmp_path / "a" if before else None)
    steps(loss, range(3))
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    other = crd(tmp_path / "b" if after else None, seed=99)
    assert not torch.equal(other.memory.student, loss.memory.student)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.has_mean
    same(steps(other, range(3, 6)), steps(loss, range(3, 6)))
    same(dict(other.state_dict()), dict(loss.state_dict()))


class Interrupt(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2:
            raise RuntimeError("power cut")


def test_an_interrupted_fit_ends_with_the_same_numbers(tmp_path):
    def run(name, banks, **options):
        student, teacher = toy_encoders()
        loss = CrossEntropy() + CRD(num_negatives=20, dim=4, memory_map=tmp_path / banks)
        distiller = Distiller(student, teacher, loss, num_samples=60)
        train = paired_loader(toy_data(), 16, shuffle=True)
        quiet = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
        val, folder = paired_loader(toy_data(30, seed=1), 16), tmp_path / name
        result = fit(distiller, train, val, max_epochs=3, run_dir=folder, **quiet, **options)
        return result.history, dict(distiller.state_dict())

    whole = run("whole", "first")
    with pytest.raises(RuntimeError, match="power cut"):
        run("broken", "second", callbacks=[Interrupt()])
    history, state = run("broken", "third", resume=True)
    assert history == whole[0]
    assert any("memory.teacher" in name for name in state)
    same(state, whole[1])


def test_a_copy_lies_in_memory(tmp_path):
    loss = crd(tmp_path)
    before = loss.memory.student.clone()
    copied = copy.deepcopy(loss)
    steps(copied, [1])
    assert torch.equal(loss.memory.student, before)
    assert not torch.equal(copied.memory.student, before)


def test_moving_and_casting_leave_the_banks_alone(tmp_path):
    loss = crd(tmp_path)
    assert loss.double().memory.student.dtype == torch.float32
    batch = random_batch(dtype=torch.float64)
    assert step(loss, batch).value.dtype == torch.float64
    assert loss.to("meta").memory.student.device.type == "cpu"


def test_initialisation_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(crd_memory, "ROWS_AT_ONCE", 7)
    bank = crd(tmp_path).memory.student
    torch.testing.assert_close(bank.norm(dim=1), torch.ones(SAMPLES))
    assert len(bank.unique(dim=0)) == SAMPLES


def test_files_are_used_again_and_filled_anew(tmp_path):
    first = crd(tmp_path)
    bank = first.memory.student.clone()
    del first
    assert torch.equal(crd(tmp_path).memory.student, bank)  # the same seed
    assert not torch.equal(crd(tmp_path, seed=8).memory.student, bank)


def test_each_rank_has_its_own_folder(tmp_path, monkeypatch):
    first = crd(tmp_path)
    monkeypatch.setenv("RANK", "1")
    second = crd(tmp_path)
    assert second.memory.folder == first.memory.folder / "rank1"


def test_a_folder_serves_one_loss(tmp_path):
    loss = crd(tmp_path)
    with pytest.raises(ValueError, match="in use by another loss"):
        crd(tmp_path)
    assert loss.memory is not None


def test_a_folder_serves_one_process(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="in another process; give each its own folder"):
            crd(tmp_path)
        other.stdin.close()
    assert crd(tmp_path).memory is not None
    mine = subprocess.run(command, input=b"", capture_output=True)
    assert b"BlockingIOError" in mine.stderr


def test_errors(tmp_path):
    (tmp_path / "teacher.float32").write_bytes(b"12345678")
    expected = f"teacher.float32 holds 8 bytes, but banks of 40 rows of width 3 take {40 * 3 * 4}"
    with pytest.raises(ValueError, match=expected):
        crd(tmp_path)
    assert (tmp_path / "teacher.float32").read_bytes() == b"12345678"
    with pytest.raises(ValueError, match="memory_map holds the slots"):
        CRD(form="queue", memory_map=tmp_path)
    with pytest.raises(ValueError, match="needs num_samples"):
        CRD(memory_map=tmp_path).bind(8, 8)
    loss = crd(tmp_path / "good")
    state = loss.state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for memory.student: .* \[9, 3\]"):
        loss.load_state_dict({**state, "memory.student": torch.zeros(9, 3)})
    state.pop("memory.teacher")
    with pytest.raises(RuntimeError, match="Missing key.*memory.teacher"):
        loss.load_state_dict(state)


def test_a_file_half_written_by_another_process_is_left_alone(tmp_path, monkeypatch):
    """Where the file system has no locks two processes may be in one folder."""
    others = tmp_path / "student.partial"
    others.write_bytes(b"half")
    loss = crd(tmp_path)
    assert others.read_bytes() == b"half" and loss.memory is not None
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"student.float32", "teacher.float32", "lock", others.name}


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"student.float32 cannot be written \(No space left"):
        crd(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
