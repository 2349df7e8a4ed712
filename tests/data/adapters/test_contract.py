"""What holds for every adapter: a sample, a card, columns that `modalities` names, and a split.

A data set that is registered and has no line in `SAMPLES` fails here.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import xdistill as xd
from xdistill import registry
from xdistill.data import samples
from xdistill.data.listing import find_data
from xdistill.data.simulation import SampleConfig, generate


class Sample(NamedTuple):
    """Who writes a sample (None for generated data), and the options that make it small."""

    write: Callable[..., Path] | None
    options: dict[str, Any]


def _write_s3ve(root: Path) -> Path:
    return generate(root, SampleConfig(subjects=3, clips_per_night=2), workers=1)


def _write_vggsound_ccl(root: Path) -> Path:
    return samples.write_ccl_sample(root, name="vggsound")


FILMS = {"seconds": 0.5, "mels": 8, "frames": 2, "size": 24}
SAMPLES = {
    "activitynet": Sample(samples.write_ccl_sample, {"frames": 2, "size": 24}),
    "av_digits": Sample(samples.write_av_digits_sample, {"split": "speakers"}),
    "av_mnist": Sample(samples.write_av_mnist_sample, {}),
    "ave": Sample(samples.write_ave_sample, FILMS),
    "crema_d": Sample(samples.write_crema_d_sample, {**FILMS, "folds": 3}),
    "crisismmd": Sample(samples.write_crisismmd_sample, {}),
    "kinetics_sounds": Sample(samples.write_kinetics_sounds_sample, FILMS),
    "mfh_gaussian": Sample(None, {"gamma": 0.25}),
    "mm_imdb": Sample(samples.write_mm_imdb_sample, {}),
    "nights": Sample(samples.write_nights_sample, {}),
    "nyu_depth_v2": Sample(samples.write_nyu_depth_v2_sample, {"size": (12, 16)}),
    "ravdess": Sample(samples.write_ravdess_films, {**FILMS, "folds": 3}),
    "s3ve": Sample(_write_s3ve, {"frames": 2, "size": 16}),
    "sleep_edf": Sample(samples.write_sleep_edf_sample, {"folds": 3}),
    "sleep_edf_features": Sample(samples.write_sleep_edf_features_sample, {"folds": 3}),
    "ucf51": Sample(samples.write_ucf51_sample, {"frames": 2, "size": 24}),
    "uci_mfeat": Sample(samples.write_uci_mfeat_sample, {}),
    "utd_mhad": Sample(samples.write_utd_mhad_sample, {"frames": 4, "size": (16, 12), "steps": 32}),
    "vggsound": Sample(samples.write_vggsound_sample, FILMS),
    "vggsound_100": Sample(samples.write_vggsound_100_sample, FILMS),
    "vggsound_50k": Sample(samples.write_vggsound_50k_sample, {}),
    "vggsound_ccl": Sample(_write_vggsound_ccl, {"frames": 2, "size": 24}),
}
OURS = [
    name for name in xd.list_datasets() if registry.datasets.provider(name).startswith("xdistill.")
]


@pytest.fixture(scope="module")
def root_of(tmp_path_factory) -> Callable[[str], Path | None]:
    """The sample of a data set, written once."""
    written: dict[str, Path | None] = {}

    def root(name: str) -> Path | None:
        if name not in written:
            write = SAMPLES[name].write
            written[name] = write and write(tmp_path_factory.mktemp(name) / name)
        return written[name]

    return root


@pytest.fixture
def load(root_of) -> Callable[..., xd.Splits]:
    def create(name: str, **options) -> xd.Splits:
        root = root_of(name)
        place = {} if root is None else {"root": root}
        return xd.create_dataset(name, **place, **SAMPLES[name].options, **options)

    return create


def takes_modalities(name: str) -> bool:
    """Directly, or among the options of `AVFormat`."""
    parameters = inspect.signature(registry.datasets.get(name)).parameters
    return "modalities" in parameters or SAMPLES[name].options == FILMS or name == "crema_d"


def test_every_adapter_is_here():
    assert sorted(SAMPLES) == OURS


@pytest.mark.parametrize("name", OURS)
def test_the_card_has_the_name_and_finds_the_files(root_of, name):
    card = registry.datasets.get(name).card
    assert card.name == name
    root = root_of(name)
    if root is not None:
        assert find_data(card, root.parent) == root


@pytest.mark.parametrize("name", OURS)
def test_no_group_is_in_two_parts_and_rows_can_be_trained_on(load, name):
    """Each column has the axes of the registered modality whose name it has."""
    splits = load(name)
    xd.check_disjoint(splits)
    card = registry.datasets.get(name).card
    columns = set(splits.train.modalities)
    assert any(set(pair) <= columns for pair in card.pairs)
    for part in splits:
        xd.audit(part, optional=part.modalities)


@pytest.mark.parametrize("name", [name for name in OURS if takes_modalities(name)])
def test_modalities_name_the_columns_and_no_others_are_read(load, name):
    for column in load(name).train.modalities:
        train = load(name, modalities=[column]).train
        assert train.modalities == (column,)
        row = next(row for row in range(len(train)) if train.has(column, row))
        assert list(train[row].inputs) == [column]
    for wrong in ("video", [], ["smell"], [column, "smell"]):
        with pytest.raises(
            ValueError, match=f"modalities is a list of one or more of .*'{column}'"
        ):
            load(name, modalities=wrong)


@pytest.mark.parametrize(
    "name", [name for name in OURS if name in SAMPLES and SAMPLES[name].write is not None]
)
def test_missing_data_say_where_to_get_them(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)missing.*(https?://|arXiv|distributed by)"):
        xd.create_dataset(name, root=tmp_path, **SAMPLES[name].options)
