import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from tests.toy import toy_data, toy_encoders
from xdistill.data.cache import cache_teacher
from xdistill.data.collate import collate
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.kd import KD
from xdistill.losses.sacd import SACD
from xdistill.metrics import predict

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}
ROOT = Path(__file__).parents[2]


def loaders(rows=60, **options):
    return (
        paired_loader(toy_data(rows, **options), 16, shuffle=True),
        paired_loader(toy_data(30, seed=1), 16),
    )


def alone() -> Distiller:
    return Distiller(toy_encoders()[0], None, CrossEntropy())


def test_fit_learns_and_keeps_the_best_epoch():
    distiller = alone()
    train, val = loaders()
    result = fit(distiller, train, val, max_epochs=8, lr=0.02, **QUIET)
    best = max(row["val/macro_f1"] for row in result.history)
    assert result.best_value == best > 0.6
    assert result.history[result.best_epoch]["val/macro_f1"] == best
    scores = predict(distiller.student, val, 3).scores
    assert scores.macro_f1 == pytest.approx(best, abs=1e-6)


def test_fit_equals_a_loop_written_by_hand():
    train, _ = loaders()
    first, second = alone(), alone()
    first.student.dropout.p = second.student.dropout.p = 0.0
    sgd = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1)}
    constant = {
        "scheduler": lambda optimizer, steps: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    }
    fit(first, train, max_epochs=2, **sgd, **constant, **QUIET)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    second.train()
    for epoch in range(2):
        train.sampler.set_epoch(epoch)
        for batch in train:
            optimizer.zero_grad()
            second(batch).loss.backward()
            optimizer.step()
    for name, tensor in first.student.state_dict().items():
        torch.testing.assert_close(tensor, second.student.state_dict()[name])


def test_the_teacher_cache_changes_nothing_but_the_time(tmp_path):
    histories, calls = [], []
    for cached in (False, True):
        student, teacher = toy_encoders()
        data, val = toy_data(), toy_data(30, seed=1)
        if cached:
            data, val = (cache_teacher(one, teacher, "rich", root=tmp_path) for one in (data, val))
            teacher.register_forward_hook(lambda *_: calls.append(1))
        distiller = Distiller(student, teacher, CrossEntropy() + KD() + SACD(dim=4, bank_size=32))
        train = paired_loader(data, 16, shuffle=True)
        options = {"max_epochs": 3, **QUIET}
        histories.append(fit(distiller, train, paired_loader(val, 16), **options).history)
    assert not calls
    for without, with_cache in zip(*histories, strict=True):
        assert without == pytest.approx(with_cache, rel=1e-4, abs=1e-5)


def run_script(run_dir: Path, kill_epoch: int, workers: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.engine.kill_and_resume", run_dir, kill_epoch, workers]
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)


def strip_time(run: subprocess.CompletedProcess) -> dict:
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return {0: strip_time(run_script(tmp_path_factory.mktemp("run"), -1, 0))}


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_run_killed_in_any_epoch_ends_with_the_same_numbers(tmp_path, unbroken, epoch):
    killed = run_script(tmp_path, epoch, 0)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run_script(tmp_path, -1, 0)
    assert resumed.returncode == 0, resumed.stderr
    assert strip_time(resumed) == unbroken[0]


def test_a_run_killed_with_loader_processes_ends_with_the_same_numbers(tmp_path):
    whole = strip_time(run_script(tmp_path / "whole", -1, 2))
    killed = run_script(tmp_path / "broken", 2, 2)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert strip_time(run_script(tmp_path / "broken", -1, 2)) == whole


def test_resuming_a_finished_run_trains_nothing(tmp_path):
    train, val = loaders()
    first = alone()
    result = fit(first, train, val, max_epochs=2, run_dir=tmp_path, **QUIET)
    second = alone()
    again = fit(second, train, val, max_epochs=2, run_dir=tmp_path, resume=True, **QUIET)
    assert again.history == result.history
    for name, tensor in first.student.state_dict().items():
        assert torch.equal(tensor, second.student.state_dict()[name])


def test_a_non_empty_run_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    train, val = loaders()
    with pytest.raises(FileExistsError, match="not empty.*--resume"):
        fit(alone(), train, val, max_epochs=1, run_dir=tmp_path, **QUIET)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_truncated_checkpoint_is_named(tmp_path):
    train, val = loaders()
    fit(alone(), train, val, max_epochs=1, run_dir=tmp_path, **QUIET)
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(ValueError, match="last.ckpt cannot be read"):
        fit(alone(), train, val, max_epochs=2, run_dir=tmp_path, resume=True, **QUIET)


def test_nan_in_the_students_input_stops_before_training():
    data = toy_data()
    data.inputs["cheap"][7, 2] = torch.nan
    distiller = alone()
    before = {name: tensor.clone() for name, tensor in distiller.state_dict().items()}
    with pytest.raises(ValueError, match="cheap"):
        fit(distiller, paired_loader(data, 16), max_epochs=1, **QUIET)
    assert all(torch.equal(before[name], now) for name, now in distiller.state_dict().items())


def test_nan_in_the_teachers_input_is_a_counted_warning():
    data = toy_data()
    data.inputs["rich"][[3, 9], 0] = torch.inf
    distiller = Distiller(*toy_encoders(), CrossEntropy() + KD())
    with pytest.warns(UserWarning, match="2 of 60"):
        result = fit(distiller, paired_loader(data, 16), max_epochs=1, **QUIET)
    assert result.history[0]["train/loss"] > 0


def test_a_loss_that_explodes_stops_the_run_with_advice(tmp_path):
    train, val = loaders()
    with pytest.raises(FloatingPointError, match="student returned NaN .* step 1 .* lower lr"):
        fit(
            alone(),
            train,
            val,
            max_epochs=3,
            run_dir=tmp_path,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e38),
            **QUIET,
        )


def test_epochs_without_validation_choose_nothing():
    train, val = loaders()
    result = fit(alone(), train, val, max_epochs=4, check_val_every_n_epoch=2, **QUIET)
    assert "val/macro_f1" not in result.history[0]
    assert result.best_epoch in (1, 3)


def test_an_unknown_monitor_lists_what_is_logged():
    train, val = loaders()
    with pytest.raises(ValueError, match="monitor='val/acc' is not logged.*val/accuracy"):
        fit(alone(), train, val, max_epochs=1, monitor="val/acc", **QUIET)


def test_a_loader_of_anyone_else_is_made_reproducible():
    results = []
    for _ in range(2):
        torch.manual_seed(len(results))
        loader = torch.utils.data.DataLoader(
            toy_data(), 16, shuffle=True, collate_fn=paired_loader(toy_data(), 4).collate_fn
        )
        distiller = alone()
        fit(distiller, loader, max_epochs=2, **QUIET)
        results.append(distiller.student.body.weight.detach().clone())
    assert torch.equal(*results)


def test_fit_gives_the_caller_his_data_and_his_loader_back():
    data = toy_data()
    data.inputs["rich"][5] = torch.nan
    generator = torch.Generator()
    train = DataLoader(data, 16, shuffle=True, collate_fn=collate, generator=generator)
    used = []

    class KD5(KD):
        def forward(self, student, teacher, target=None, *, valid=None, index=None):
            used.append(bool(valid[index == 5].any()))
            return super().forward(student, teacher, target, valid=valid, index=index)

    distiller = Distiller(*toy_encoders(), CrossEntropy() + KD5())
    with pytest.warns(UserWarning, match="1 of 60 rows .* used without rich"):
        fit(distiller, train, max_epochs=1, **QUIET)
    assert used and not any(used)
    assert data.valid == {}
    assert train.generator is generator and train.sampler.generator is generator


def test_a_training_that_fails_gives_them_back_too():
    data = toy_data()
    data.inputs["rich"][5] = torch.nan

    class Broken(CrossEntropy):
        def forward(self, *args, **kwargs):
            raise RuntimeError("broken")

    train = DataLoader(data, 16, shuffle=True, collate_fn=collate)
    given = train.generator, train.sampler.generator
    distiller = Distiller(*toy_encoders(), Broken())
    with pytest.raises(RuntimeError, match="broken"), pytest.warns(UserWarning, match="1 of 60"):
        fit(distiller, train, max_epochs=1, **QUIET)
    assert data.valid == {} and (train.generator, train.sampler.generator) == given
