from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torchdistill.losses.mid_level import VIDLoss
from torchdistill.models.wrapper import Regressor4VID

from tests.losses.batches import STUDENT_HIDDEN, TEACHER_HIDDEN, bound_loss, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.parts.layers import hidden_maps
from xdistill.losses.parts.shared_axes import align
from xdistill.losses.vid import VID, Gaussian, Regressor, vid
from xdistill.types import Spec

SPECS = Spec(8, STUDENT_HIDDEN), Spec(8, TEACHER_HIDDEN)


def twin(mu, variance, teacher, valid):
    mu, teacher = kept(valid, mu.tolist(), teacher.tolist())
    scores = [
        ((m - t) ** 2 / v + math.log(v)) / 2
        for row, other in zip(mu, teacher, strict=True)
        for m, t, v in zip(row, other, variance.tolist(), strict=True)
    ]
    return mean(scores)


def test_closed_form():
    # Gaps of 2 and 0 with σ² of 4 and 1: ½(4/4 + ln 4) and ½(0 + 0), their mean ¼ + ½ ln 2.
    guess = Gaussian(torch.tensor([[3.0, 5.0]]), torch.tensor([4.0, 1.0]))
    value = vid(guess, torch.tensor([[1.0, 5.0]]))
    torch.testing.assert_close(value, torch.tensor(0.25 + math.log(2) / 2))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    mu, teacher, variance = rows64(6, 4), rows64(6, 4, seed=1), rows64(4, seed=2).exp()
    value = vid(Gaussian(mu, variance), teacher, optional(valid))
    close(value, twin(mu, variance, teacher, valid))


def test_places_of_a_map_count_as_rows_do():
    mu, teacher, variance = rows64(6, 4, 5), rows64(6, 4, 5, seed=1), rows64(4, seed=2).exp()
    flat = [x.movedim(1, -1).flatten(0, 1) for x in (mu, teacher)]
    close(vid(Gaussian(mu, variance), teacher), twin(flat[0], variance, flat[1], None))


def test_gradcheck():
    valid = torch.tensor([True, False, True])
    gradcheck(
        lambda m, a, t: vid(Gaussian(m, a.exp()), t, valid),
        rows64(3, 4, 2),
        rows64(4, seed=2),
        rows64(3, 4, 2, seed=1),
    )


def test_parity_with_torchdistill():
    """Mean, variance, and their gradients; its maps have no bias."""
    theirs = Regressor4VID(6, 5, 4, eps=1e-5, init_pred_var=5.0).double()
    ours = Regressor(6, 4, 5, init_variance=5.0).double()
    weights = [layer.weight for layer in theirs.regressor if hasattr(layer, "weight")]
    maps = [layer.map for layer in ours.mean if hasattr(layer, "map")]
    for weight, linear in zip(weights, maps, strict=True):
        linear.weight.data = weight.detach()[:, :, 0, 0]
        linear.bias.data.zero_()
    torch.testing.assert_close(ours.alpha, theirs.soft_plus_param, rtol=1e-6, atol=1e-6)
    where = {"io": "output", "path": "x"}
    criterion = VIDLoss({"pair": {"student": where, "teacher": where}})

    def reference(x, t):
        return criterion({"x": {"output": theirs(x)}}, {"x": {"output": t}})

    x, t = rows64(3, 6, 4, 4), rows64(3, 4, 4, 4, seed=1)
    agree(lambda x, t: vid(ours(x), t), reference, x, t)
    reference(x, t).backward()
    vid(ours(x), t).backward()
    torch.testing.assert_close(ours.alpha.grad, theirs.soft_plus_param.grad)
    assert ours.alpha.grad.any()


def test_the_variance_starts_at_the_given_value_and_is_learned():
    """Each channel's σ² goes to the mean of the squared gap, the least of the loss in σ²."""
    for value in (0.3, 5.0, 200.0):
        regressor = Regressor(2, 3, 4, init_variance=value)
        torch.testing.assert_close(
            regressor(torch.zeros(1, 2)).variance, torch.full((3,), value), rtol=1e-4, atol=1e-5
        )
    torch.manual_seed(0)
    loss = VID().bind(4, 2).double()
    regressor = loss.regressors[0]
    teacher = rows64(64, 2, seed=1) * torch.tensor([0.5, 3.0])
    with torch.no_grad():
        regressor.mean[-1].map.weight.zero_()
        regressor.mean[-1].map.bias.zero_()
    optimizer = torch.optim.Adam([regressor.alpha], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        vid(regressor(rows64(64, 4)), teacher).backward()
        optimizer.step()
    learned = regressor(rows64(64, 4)).variance
    torch.testing.assert_close(learned, teacher.square().mean(0), rtol=0.02, atol=0.01)


def test_a_perfect_student_brings_it_below_zero():
    teacher = rows64(3, 4)
    assert vid(Gaussian(teacher, torch.full((4,), 0.01, dtype=torch.float64)), teacher) < -2


def test_layers_are_summed_over_their_shared_axes():
    batch = random_batch()
    loss = bound_loss("vid", layers=["early", "late"])
    value = loss(batch.student, batch.teacher)
    maps = hidden_maps("vid", loss.layers, batch.student, batch.teacher)
    parts = [
        vid(regressor(ours), theirs)
        for regressor, (ours, theirs) in zip(
            loss.regressors, [align("vid", *pair) for pair in maps], strict=True
        )
    ]
    torch.testing.assert_close(value, sum(parts))
    assert [len(regressor.alpha) for regressor in loss.regressors] == [3, 5]
    assert loss(batch.student, batch.teacher, valid=torch.zeros(6, dtype=torch.bool)) == 0


def test_options_and_errors():
    loss = VID(hidden_channels=7).bind(8, 5)
    assert loss.regressors[0].mean[0].map.out_features == 7
    batch = random_batch(teacher_dim=5)
    with pytest.raises(ValueError, match="bind"):
        VID()(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="init_variance must be above"):
        VID(init_variance=0.0)
    with pytest.raises(ValueError, match="hidden_channels must be a whole number of at least 1"):
        VID(hidden_channels=0)
    bound = VID(layers=[("early", "late")]).bind(*SPECS)
    with pytest.raises(ValueError, match="hidden"):
        bound(batch.student, replace(batch.teacher, hidden={}))
