"""What a run folder holds, and when it may be used again."""

import json
import math
from dataclasses import replace

import pytest

from tests.experiment.scores import result, scored
from xdistill.experiment import Failure, Result, Trial
from xdistill.experiment.run_folder import (
    check_config,
    numbered_folder,
    open_folder,
    read_outcome,
    write_outcome,
)
from xdistill.experiment.trial import TeacherTrial
from xdistill.experiment.workers import Place

CONFIG = "config.json"


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    trial = Trial("a", "kd", 0)
    assert read_outcome(tmp_path) is None
    for outcome in (result(0.25, 1 / 3), Failure("RuntimeError: no", None)):
        write_outcome(tmp_path / "one", trial, outcome)
        assert read_outcome(tmp_path / "one") == outcome


def test_no_two_trials_share_a_folder():
    trials = [Trial("a", "kd", 0, labels=one) for one in (1, 0.1, 0.1001, 1 / 3, 0.3333)]
    trials += [Trial("a", "kd", 0, missing=0.1), Trial("a", "sacd/bank_0", 0), Trial("a", "kd", 1)]
    assert len({trial.folder for trial in trials}) == len(trials)
    assert all(len(trial.folder.parts) == 3 for trial in trials)
    assert Trial("a", "kd", 0, labels=1).folder == Trial("a", "kd", 0, labels=1.0).folder


def test_runs_made_with_other_options_are_refused(tmp_path):
    check_config(tmp_path, CONFIG, {"lr": 1.0, "layers": (), "seeds": 1})
    check_config(tmp_path, CONFIG, {"lr": 1.0, "layers": (), "seeds": 2}, ("seeds",))
    with pytest.raises(ValueError, match=r"made with other options: \{'lr': '1.0 → 2.0'\}; use"):
        check_config(tmp_path, CONFIG, {"lr": 2.0, "layers": (), "seeds": 1})


def test_a_folder_is_new_or_resumed(tmp_path):
    new = {"file": CONFIG, "config": {"lr": 1}, "may_differ": ()}
    open_folder(tmp_path / "run", **new, resume=False)
    open_folder(tmp_path / "run", **new, resume=True)
    with pytest.raises(FileExistsError, match="is not empty"):
        open_folder(tmp_path / "run", **new, resume=False)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("It was a dark and stormy night.")
    with pytest.raises(FileExistsError, match="no run to resume"):
        open_folder(tmp_path / "thesis", **new, resume=True)
    assert len(list((tmp_path / "thesis").iterdir())) == 1


def test_numbered_folders_count_on_and_the_newest_is_resumed(tmp_path):
    assert numbered_folder(tmp_path, resume=False) == tmp_path / "001"
    with pytest.raises(FileNotFoundError, match="no run under"):
        numbered_folder(tmp_path, resume=True)
    for name in ("999", "1000", "2 drafts"):
        (tmp_path / name).mkdir()
    assert numbered_folder(tmp_path, resume=True) == tmp_path / "1000"
    assert numbered_folder(tmp_path, resume=False) == tmp_path / "1001"


def test_options_that_are_no_more_and_new_ones_are_refused(tmp_path):
    check_config(tmp_path, CONFIG, {"lr": 1.0, "warmup": 3})
    with pytest.raises(ValueError, match=r"'warmup': '3 → \(no such option\)'"):
        check_config(tmp_path, CONFIG, {"lr": 1.0})
    with pytest.raises(ValueError, match=r"'decay': '\(no such option\) → 0'"):
        check_config(tmp_path, CONFIG, {"lr": 1.0, "warmup": 3, "decay": 0})
    check_config(tmp_path, CONFIG, {"lr": 1.0}, ("warmup",))


def test_a_resume_that_finds_no_run_says_so(tmp_path):
    with pytest.warns(UserWarning, match="no run in .*new to resume; a new one starts"):
        open_folder(tmp_path / "new", CONFIG, {"lr": 1}, resume=True, may_differ=())
    open_folder(tmp_path / "new", CONFIG, {"lr": 1}, resume=True, may_differ=())


@pytest.mark.parametrize(
    "trial",
    [Trial("a", "../../esc", 0), Trial("a", "..", 0), Trial("../a", "kd", 0),
     TeacherTrial("a", "../../esc", 0)],
)  # fmt: skip
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, trial):
    with pytest.raises(ValueError, match="is to be part of a path"):
        Place(tmp_path, tmp_path / "runs").folder(trial)


def test_a_kappa_that_is_not_defined_is_null_in_the_file_and_nan_when_read(tmp_path):
    undefined = replace(scored(0.5), kappa=math.nan)
    outcome = Result(undefined, undefined, 0, 1.0, [{"epoch": 0, "val/kappa": math.nan}], [1])
    write_outcome(tmp_path, Trial("a", "kd", 0), outcome)

    def refuse(name: str):
        raise AssertionError(f"{name} is no JSON")

    kept = json.loads((tmp_path / "result.json").read_text(), parse_constant=refuse)
    assert kept["val"]["kappa"] is None and kept["history"] == [{"epoch": 0, "val/kappa": None}]
    assert repr(read_outcome(tmp_path)) == repr(outcome)
