"""Settings by name: ours, a script's and a plugin's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import xdistill as xd
from tests.fake_package import install
from xdistill import registry
from xdistill.data import samples
from xdistill.experiment import Experiment, Setting, get_setting, list_settings, register_setting
from xdistill.experiment.settings import OURS, SPEAKERS, chosen_settings


@pytest.fixture
def _own_names(monkeypatch):
    registry.settings.list()
    monkeypatch.setattr(registry.settings, "_entries", dict(registry.settings._entries))


def load(root, split) -> xd.Splits:
    return xd.create_dataset("mfh_gaussian", gamma=0.54, seed=split)


def test_every_setting_of_ours_has_a_data_set_and_encoders():
    assert set(OURS) <= set(list_settings())
    assert list(chosen_settings(tuple(OURS))) == list(OURS)
    for name, setting in OURS.items():
        assert get_setting(name) is setting
        assert registry.settings.provider(name) == "xdistill.experiment.settings"
        assert name.partition("-")[0] in xd.list_datasets()
        assert {setting.encoder, *setting.teachers.values()} <= set(xd.list_encoders())


def test_every_setting_of_ours_shows_labels_in_every_step():
    for name, setting in OURS.items():
        assert setting.labelled_per_batch == setting.batch_size // 4, name
        assert not setting.teacher_share  # the suite sets it
    few = {name: OURS[name].few_labels for name in ("utd_mhad-both", "mfh_gaussian", "av_digits")}
    assert few == {"utd_mhad-both": 0.25, "mfh_gaussian": 0.1, "av_digits": 0.02}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """Samples of the data sets in their true layouts."""
    root = tmp_path_factory.mktemp("data")
    samples.write_utd_mhad_sample(root / "utd_mhad")
    samples.write_sleep_edf_features_sample(root / "sleep_edf_features")
    features = ("fac", "fou", "kar", "mor", "pix", "zer")
    samples.write_uci_mfeat_sample(root / "uci_mfeat", modalities=features)
    samples.write_av_digits_sample(root / "av_digits")
    for ours, theirs in zip(("ada", "ben", "cleo"), SPEAKERS[:3], strict=True):
        for path in (root / "av_digits").rglob(f"*_{ours}_*.wav"):
            path.rename(path.with_name(path.name.replace(ours, theirs)))
    return root


@pytest.mark.parametrize("name", sorted(set(OURS) - {"s3ve"}))
def test_the_rows_of_every_setting_of_ours_can_be_trained_on(name, data_root, tmp_path):
    """s3ve makes its own sample, in minutes, and has its own tests."""
    experiment = Experiment(name, tmp_path, data_root=data_root)
    splits = experiment.splits()
    setting = experiment.setting
    for modality in (setting.student, *setting.teachers):
        encoder = experiment.network(modality)
        batch = next(iter(xd.paired_loader(splits.train, 2)))
        assert encoder(batch.inputs[modality]).logits.shape == (2, len(splits.train.classes))


def test_the_name_of_a_data_set_stands_for_all_its_settings():
    assert list(chosen_settings(("utd_mhad",))) == [
        "utd_mhad-inertial",
        "utd_mhad-skeleton",
        "utd_mhad-both",
    ]


@pytest.mark.usefixtures("_own_names")
def test_a_registered_setting_joins_the_others():
    mine = register_setting("mine-one", Setting(load, {"teacher": "mlp"}, "student"))
    assert chosen_settings(("mine",)) == {"mine-one": mine}
    assert registry.settings.provider("mine-one") == __name__
    with pytest.raises(ValueError, match="setting 's3ve' from .* is already registered by xdist"):
        register_setting("s3ve", mine)


def test_the_seed_chooses_the_split_where_seeds_have_their_own():
    setting = Setting(load, {"teacher": "mlp"}, "student")
    assert [setting.split(seed) for seed in (0, 3)] == [0, 3]
    fixed = Setting(load, {"teacher": "mlp"}, "student", own_splits=False)
    assert [fixed.split(seed) for seed in (0, 3)] == [0, 0]


def run(code: str, *path: object) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, *sys.path)))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plugin_is_imported_when_its_setting_is_asked_for(tmp_path):
    good = "good = Setting(print, {'b': 'mlp'}, 'a')"
    source = f"from xdistill.experiment import Setting\n{good}\nbad = print"
    names = {"good": "plug_setting:good", "bad": "plug_setting:bad"}
    install(tmp_path, "plug-setting", {"xdistill.settings": names}, source)
    code = """
import sys
from xdistill.experiment import get_setting, list_settings
assert {"good", "bad"} <= set(list_settings()) and "plug_setting" not in sys.modules
assert get_setting("good").student == "a"
try:
    get_setting("bad")
except ValueError as error:
    print(error)
"""
    assert "setting 'bad' from plug-setting is a builtin_function" in run(code, tmp_path)


def test_experiments_load_no_heavy_library_before_they_run():
    code = """
import sys
import xdistill.experiment
heavy = {"lightning", "matplotlib", "pandas", "scipy", "torchmetrics", "torchvision", "tyro"}
print(*sorted(heavy & set(sys.modules)))
"""
    assert run(code).split() == []
