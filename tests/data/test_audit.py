from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch

from xdistill.data.audit import audit
from xdistill.data.paired import PairedDataset
from xdistill.types import Outputs

ROWS = 6


class Counted:
    """A lazy column that counts its readings."""

    def __init__(self, values):
        self.values = values
        self.readings = [0] * len(values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, row):
        self.readings[row] += 1
        if isinstance(self.values[row], Exception):
            raise self.values[row]
        return self.values[row]


def pairs(video=None, eeg=None, **changes) -> PairedDataset:
    options = {
        "inputs": {
            "video": Counted(video or [torch.rand(1, 2, 4, 4) for _ in range(ROWS)]),
            "eeg": Counted(eeg or [torch.randn(2, 30) for _ in range(ROWS)]),
        },
        "target": [0] * ROWS,
        "classes": ["w"],
        "ids": [f"clip{row}" for row in range(ROWS)],
    }
    return PairedDataset(**{**options, **changes})


def with_one(row: int, value, shape=(2, 30)) -> list:
    column: list = [torch.zeros(shape) for _ in range(ROWS)]
    column[row] = value
    return column


def poisoned(shape, value=float("nan")) -> torch.Tensor:
    x = torch.zeros(shape)
    x.view(-1)[-1] = value
    return x


def test_a_sound_dataset_passes_in_one_pass():
    dataset = pairs(valid={"eeg": [row != 2 for row in range(ROWS)]})
    audited = audit(dataset, required=("video",), optional=("eeg",))
    assert dataset.inputs["video"].readings == [1] * ROWS
    assert dataset.inputs["eeg"].readings == [1, 1, 0, 1, 1, 1]
    assert torch.equal(audited.valid["eeg"], dataset.valid["eeg"])
    assert audited.inputs["video"] is dataset.inputs["video"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_teacher_row_is_used_without_it(value):
    eeg = [torch.randn(2, 30) for _ in range(ROWS)]
    eeg[1] = poisoned((2, 30), value)
    eeg[4] = poisoned((2, 30), value)
    dataset = pairs(eeg=eeg, valid={"eeg": [row != 0 for row in range(ROWS)]})
    with pytest.warns(UserWarning) as caught:
        audited = audit(dataset, required=("video",), optional=("eeg",), name="val")
    (warning,) = caught
    assert str(warning.message) == (
        "val: 2 of 6 rows (first: clip1) have NaN or infinity in eeg; they are used without eeg"
    )
    assert audited.valid["eeg"].tolist() == [False, False, True, True, False, True]
    assert dataset.valid["eeg"].tolist() == [False] + [True] * 5
    assert "eeg" not in audited[1].inputs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audit(audited, required=("video",), optional=("eeg",))


def test_large_values_are_finite():
    column = [torch.full((2, 30), 3e38) for _ in range(ROWS)]
    with pytest.warns(UserWarning, match=r"eeg values have a size of 3e\+38, expected"):
        audited = audit(pairs(eeg=column), required=("video",), optional=("eeg",))
    assert not audited.valid


def test_a_bad_student_row_is_an_error():
    video = with_one(3, poisoned((1, 2, 4, 4)), (1, 2, 4, 4))
    video[5] = poisoned((1, 2, 4, 4), float("inf"))
    with pytest.raises(ValueError, match=r"train: 2 of 6 rows \(first: clip3\) have NaN .* video"):
        audit(pairs(video=video), required=("video",), optional=("eeg",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (torch.zeros(30), r"row 2 \(clip2\), with a batch axis: eeg: expected 3 axes"),
        (torch.zeros(2, 30, dtype=torch.int16), "row 2 .*expected a floating-point tensor in µV"),
        (torch.zeros(2, 31), r"row 2 .*shape \(2, 31\) .* rows before it have \(2, 30\)"),
        (torch.zeros(3, 30), r"row 2 .*shape \(3, 30\)"),
        (torch.zeros(2, 30).half(), r"row 2 .*float16, the rows before it"),
        (torch.zeros(2, 0), "the batch is empty"),
        (OSError("no such file"), r"row 2 \(clip2\) cannot be read as eeg .OSError: no such file"),
    ],
)
def test_a_row_unlike_the_others(row, message):
    with pytest.raises(ValueError, match=message):
        audit(pairs(eeg=with_one(2, row)), required=("video",), optional=("eeg",))


def test_transforms_are_part_of_what_is_checked():
    ragged = [torch.randn(2, 30 + row) for row in range(ROWS)]
    audit(
        pairs(eeg=ragged, transforms={"eeg": lambda x: x[:, :30]}),
        required=("video",),
        optional=("eeg",),
    )
    with pytest.raises(ValueError, match=r"row 0 .*expected 3 axes"):
        audit(pairs(transforms={"eeg": torch.sum}), required=("video",), optional=("eeg",))


def test_a_modality_of_a_plugin_needs_no_registration():
    dataset = PairedDataset(
        {"radar": 1e9 * torch.rand(3, 7), "video": torch.rand(3, 1, 2, 4, 4)},
        [0] * 3,
        classes=["w"],
    )
    audit(dataset, required=("video", "radar"))


def test_a_row_without_the_student():
    dataset = pairs(valid={"video": [True, False, False, True, True, True]})
    with pytest.raises(ValueError, match=r"2 of 6 rows \(first: clip1\) have no video"):
        audit(dataset, required=("video",), optional=("eeg",))


def test_no_teacher_at_all():
    with pytest.raises(ValueError, match="no row has a usable eeg"):
        audit(pairs(valid={"eeg": [False] * ROWS}), required=("video",), optional=("eeg",))
    with (
        pytest.warns(UserWarning, match="6 of 6 rows"),
        pytest.raises(ValueError, match="no row has a usable eeg"),
    ):
        audit(
            pairs(eeg=[poisoned((2, 30))] * ROWS),
            required=("video",),
            optional=("eeg",),
        )


def test_one_of_two_teachers_is_enough():
    dataset = pairs(valid={"eeg": [False] * ROWS})
    dataset = dataset.replace(inputs={**dataset.inputs, "audio": torch.rand(ROWS, 1, 5)})
    audited = audit(dataset, required=("video",), optional=("eeg", "audio"))
    assert not audited.valid["eeg"].any()


def test_an_unknown_modality():
    with pytest.raises(ValueError, match=r"no modality 'ecg'; the dataset has \['eeg', 'video'\]"):
        audit(pairs(), required=("video",), optional=("ecg",))


def test_cached_teachers_are_checked_too():
    embedding = torch.zeros(ROWS, 3)
    embedding[4, 0] = torch.nan
    dataset = pairs(cached={"ecg": Outputs(embedding, torch.zeros(ROWS, 2))})
    with pytest.warns(UserWarning, match=r"1 of 6 rows \(first: clip4\) .* ecg"):
        audited = audit(dataset, required=("video",), optional=("ecg",))
    assert audited.valid["ecg"].tolist() == [True] * 4 + [False, True]


def test_random_transforms_draw_nothing_from_the_run():
    def draw():  # beartype draws from `random` itself, so that one is not compared
        random.random()
        return torch.rand(1).item(), float(np.random.rand())

    dataset = pairs(transforms={"video": lambda x: x + draw()[0]})
    states = torch.get_rng_state(), np.random.get_state()
    expected = draw()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    audit(dataset, required=("video",), optional=("eeg",))
    assert draw() == expected


UV = 50 * torch.randn(ROWS, 2, 300, generator=torch.Generator().manual_seed(0))  # EEG in µV
FILM = torch.rand(ROWS, 1, 2, 4, 4)
ARM = torch.tensor([0.1, -0.2, 0.97, 20.0, -5.0, 90.0]).view(1, 6, 1)  # g and degree/s
ARM = ARM * (1 + 0.1 * torch.randn(ROWS, 6, 50, generator=torch.Generator().manual_seed(0)))
MILLI_G = ARM * torch.tensor([1000.0, 1000, 1000, 1, 1, 1]).view(1, 6, 1)


@pytest.mark.parametrize(
    ("modality", "values", "message"),
    [
        ("eeg", UV * 1e-6, "eeg values look like V, expected µV: multiply by 1e.06"),
        ("eeg", UV * 1e-3, "eeg values look like mV, expected µV: multiply by 1000"),
        ("eeg", UV * 1e3, "eeg values look like nV, expected µV: divide by 1000"),
        ("eeg", UV * 1e-12, "eeg values have a size of .*e-10, expected 0.6 to 20000 .µV."),
        ("video", FILM * 255, "video values look like 0 to 255, .*: divide by 255"),
        ("image", FILM[:, 0] * 255, "image values look like 0 to 255, .*: divide by 255"),
        ("audio", UV * 200, "audio values look like 16-bit integers, .*: divide by 32768"),
        ("depth_image", 4000 * FILM[:, 0], "depth_image values look like mm, expected m: divide"),
        ("inertial", MILLI_G, "inertial values look like milli-g, .*: divide by 1000"),
    ],
)
def test_another_unit_is_told_once(modality, values, message):
    dataset = PairedDataset({modality: values}, [0] * ROWS, classes=["w"])
    with pytest.warns(UserWarning, match=message) as caught:
        audit(dataset, required=(modality,))
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("modality", "values"),
    [
        ("eeg", UV),
        ("eeg", UV / UV.std()),  # standardised
        ("eeg", UV.double()),
        ("video", FILM),
        ("video", (FILM - 0.45) / 0.22),
        ("video", FILM / 50),  # a dark room
        ("audio", UV / UV.abs().max()),
        ("audio", UV / UV.abs().max() / 300),
        ("depth_image", 4 * FILM[:, 0]),
        ("inertial", ARM),
        ("inertial", ARM - ARM.mean(dim=2, keepdim=True)),
        ("spectrogram", 1e9 * FILM[:, 0]),
        ("tabular", 1e9 * UV[:, 0]),
    ],
)
def test_the_own_unit_is_taken(modality, values):
    audit(PairedDataset({modality: values}, [0] * ROWS, classes=["w"]), required=(modality,))


def test_rows_of_zeros_are_counted():
    values = UV.clone()
    values[[2, 5]] = 0
    dataset = pairs(eeg=list(values))
    message = r"2 of 6 rows \(first: clip2\) are zero throughout in eeg; mark them in valid"
    with pytest.warns(UserWarning, match=message) as caught:
        audited = audit(dataset, required=("video",), optional=("eeg",))
    assert len(caught) == 1 and audited.rows_with("eeg").all()


def test_rows_without_the_student_can_be_allowed():
    dataset = pairs(valid={"video": [True, False, False, True, True, True]})
    message = r"2 of 6 rows \(first: clip1\) have no video; they are left out of the student's loss"
    with pytest.warns(UserWarning, match=message):
        audit(dataset, required=("video",), optional=("eeg",), allow_missing=True)
    with pytest.raises(ValueError, match=r"6 of 6 rows .* have no video"):
        audit(pairs(valid={"video": [False] * ROWS}), required=("video",), allow_missing=True)


def test_any_dataset_is_read():
    column = [torch.randn(2, 30) for _ in range(ROWS)]
    dataset = pairs(eeg=[*column[:1], poisoned((2, 30)), *column[2:]])
    view = torch.utils.data.Subset(dataset, [3, 1])
    with pytest.warns(UserWarning, match=r"1 of 2 rows \(first: clip1\) have NaN .* eeg"):
        audited = audit(view, required=("video",), optional=("eeg",))
    assert audited.valid["eeg"].tolist() == [True, False] and audited.ids == ("clip3", "clip1")
