"""One temperature for a teacher's cached logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import xdistill as xd
from xdistill.data.calibrate import fit_temperature
from xdistill.types import Outputs


def taught(logits: torch.Tensor, target, **options) -> xd.PairedDataset:
    rows = len(logits)
    outputs = Outputs(torch.ones(rows, 2), logits)
    data = {"inputs": {"cheap": torch.zeros(rows, 1)}, "target": target, **options}
    return xd.PairedDataset(
        **data, classes=tuple("abcde"[: logits.shape[1]]), cached={"rich": outputs}
    )


def logits_of(dataset: xd.PairedDataset) -> torch.Tensor:
    logits = dataset.cached["rich"].logits
    assert logits is not None
    return logits


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(2, 5),
    st.sampled_from([0.01, 0.3, 1.0, 50.0]),
    st.integers(0, 99),
)
def test_classes_stay_and_the_labelled_rows_fit_no_worse(rows, classes, scale, seed):
    torch.manual_seed(seed)
    logits = scale * torch.randn(rows, classes)
    target = torch.randint(-1, classes, (rows,))
    target[0] = 0
    before = taught(logits, target)
    after = logits_of(xd.calibrate_teacher(before, "rich"))
    assert torch.equal(after.argmax(dim=1), logits.argmax(dim=1))
    known = target >= 0
    nll = [float(F.cross_entropy(z[known].double(), target[known])) for z in (after, logits)]
    assert nll[0] <= nll[1] * (1 + 1e-6) + 1e-9
    assert torch.equal(logits_of(before), logits)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 30), st.integers(2, 4), st.integers(0, 99))
def test_no_temperature_of_a_grid_fits_better(rows, classes, seed):
    torch.manual_seed(seed)
    logits = 3 * torch.randn(rows, classes).double()
    target = torch.randint(classes, (rows,))
    found = fit_temperature(logits, target)
    grid = torch.linspace(math.log(1 / 20), math.log(20), 400).exp().tolist()
    best = min(float(F.cross_entropy(logits / one, target)) for one in grid)
    assert 1 / 20 <= found <= 20 + 1e-9
    assert float(F.cross_entropy(logits / found, target)) <= best + 1e-9


def test_the_temperature_of_a_known_teacher_is_found():
    """Labels are drawn from softmax(z), and the teacher says 4 z."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(20000, 3)
    target = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(4 * logits, target) == pytest.approx(4, rel=0.05)


def test_a_teacher_that_is_always_right_or_never_meets_the_bounds():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1 / 20)
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(20)


def test_only_labelled_rows_that_have_the_teacher_count():
    torch.manual_seed(1)
    logits, target = torch.randn(40, 3), torch.randint(3, (40,))
    counted = torch.arange(40) % 2 == 0
    has = torch.arange(40) % 4 != 1
    hidden = torch.where(counted | ~has, target, -1)
    logits[~has] = 0
    some = xd.calibrate_teacher(taught(logits, hidden, valid={"rich": has}), "rich")
    alone = xd.calibrate_teacher(taught(logits[counted], target[counted]), "rich")
    torch.testing.assert_close(logits_of(some)[counted], logits_of(alone))
    assert torch.equal(some.valid["rich"], has) and torch.equal(some.target, hidden)


def test_what_cannot_be_calibrated_is_refused():
    logits, target = torch.randn(4, 3), [0, 1, -1, 2]
    with pytest.raises(ValueError, match="logits of the 'eeg' teacher.*'rich'.*cache_teacher"):
        xd.calibrate_teacher(taught(logits, target), "eeg")
    with pytest.raises(ValueError, match="no labelled row has rich"):
        xd.calibrate_teacher(taught(logits, [-1] * 4), "rich")
    with pytest.raises(ValueError, match="one class a row"):
        xd.calibrate_teacher(taught(logits, [[0, 1, 1]] * 4), "rich")
    logits[3, 1] = math.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 labelled rows \(first: 3\)"):
        xd.calibrate_teacher(taught(logits, target), "rich")
