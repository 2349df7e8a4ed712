from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchdistill.losses.mid_level import FTLoss

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.ft import FT, Paraphraser, ft
from xdistill.losses.parts.layers import LayerPair, channels_first
from xdistill.losses.parts.shared_axes import align
from xdistill.types import Outputs, Spec


def twin(student, teacher, valid, p1, p2):
    values = []
    for s, t in zip(*kept(valid, list(student), list(teacher)), strict=True):
        flat = s.flatten().tolist(), t.flatten().tolist()
        lengths = [sum(abs(v) ** p1 for v in one) ** (1 / p1) for one in flat]
        gaps = [a / lengths[0] - b / lengths[1] for a, b in zip(*flat, strict=True)]
        values.append(mean([abs(gap) ** p2 for gap in gaps]))
    return mean(values)


def teacher_outputs(seed: int, rows: int = 16) -> Outputs:
    """Four channels that two numbers at each place explain."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randn(rows, 2, 3, generator=generator)
    mix = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    return Outputs(torch.zeros(rows, 4), hidden={"t": torch.einsum("ec,bcn->ben", mix, code)})


def small() -> FT:
    torch.manual_seed(0)
    return FT().bind(Spec(4, {"s": (3, 3)}), Spec(4, {"t": (4, 3)}))


def test_closed_form():
    # Unit rows (0.6, 0.8) and (1, 0): |−0.4| and |0.8|, 0.6 on average; squares 0.16 and 0.64.
    # In the 1-norm (3/7, 4/7) and (1, 0): both gaps are 4/7.
    student, teacher = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[2.0, 0.0]]])
    torch.testing.assert_close(ft(student, teacher), torch.tensor(0.6))
    torch.testing.assert_close(ft(student, teacher, p2=2.0), torch.tensor(0.4))
    torch.testing.assert_close(ft(student, teacher, p1=1.0), torch.tensor(4 / 7))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize(("p1", "p2"), [(2.0, 1.0), (1.0, 2.0), (3.0, 1.5)])
def test_twin(valid, p1, p2):
    student, teacher = rows64(6, 3, 4, 2), rows64(6, 3, 4, 2, seed=1)
    value = ft(student, teacher, optional(valid), p1, p2)
    close(value, twin(student, teacher, valid, p1, p2))


@pytest.mark.parametrize(("p1", "p2"), [(2.0, 1.0), (2.0, 2.0), (1.0, 2.0)])
def test_gradcheck(p1, p2):
    valid = torch.tensor([True, False, True])
    student, teacher = rows64(3, 2, 4), rows64(3, 2, 4, seed=1)
    gradcheck(lambda s, t: ft(s, t, valid, p1, p2), student, teacher)


def test_the_scale_of_a_row_does_not_matter():
    student, teacher = rows64(4, 3, 5), rows64(4, 3, 5, seed=1)
    scale = 10 ** rows64(4, 1, 1, seed=2)
    torch.testing.assert_close(ft(scale * student, teacher / scale), ft(student, teacher))
    close(ft(scale * student, student), 0.0)


@pytest.mark.parametrize("p1", [1.0, 2.0, 3.0])
def test_a_row_of_zeros_has_a_small_gradient(p1):
    student = torch.zeros(2, 3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(ft(student, torch.randn(2, 3, 4), p1=p1), student)
    assert gradient.abs().max() < 1


def test_the_module_is_the_formula():
    """Factors of each side's own map, then aligned, then normalised."""
    student, teacher = rows64(4, 6, 2, 2, 3), rows64(4, 10, 7, seed=1)
    pairs = [LayerPair("s", "t", "b t h w c", "b t c")]
    loss = FT(pairs, rate=0.4, p1=1.0, p2=2.0)
    held = [
        Outputs(x[:, 0, :1].flatten(1), hidden={k: x}) for k, x in (("s", student), ("t", teacher))
    ]
    loss.bind(*held).double()
    ours, theirs = channels_first(student, "b t h w c"), channels_first(teacher, "b t c")
    f_s = ours._replace(tensor=loss.translators[0](ours.tensor))
    f_t = theirs._replace(tensor=loss.paraphrasers[0].encoder(theirs.tensor))
    assert f_s.tensor.shape[1] == f_t.tensor.shape[1] == 3  # 0.4·7 = 2.8
    exact = ft(*align("ft", f_s, f_t), p1=1.0, p2=2.0)
    torch.testing.assert_close(loss(*held), exact)


def test_sum_over_pairs():
    batch = random_batch()
    loss = bound_loss("ft")
    parts = []
    for place, name in enumerate(("early", "late")):
        one = FT([name]).bind(batch.student, batch.teacher)
        one.translators[0].load_state_dict(loss.translators[place].state_dict())
        one.paraphrasers[0].load_state_dict(loss.paraphrasers[place].state_dict())
        parts.append(one(batch.student, batch.teacher))
    torch.testing.assert_close(loss(batch.student, batch.teacher), parts[0] + parts[1])


@pytest.mark.parametrize(("rate", "factors"), [(0.5, 2), (0.01, 1), (2.0, 8)])
def test_rate(rate, factors):
    loss = FT(rate=rate).bind(Spec(4, {"s": (3, 3)}), Spec(4, {"t": (4, 3)}))
    assert loss.paraphrasers[0].encoder[-1].map.out_features == factors
    assert loss.translators[0][-1].map.out_features == factors


def test_an_untrained_paraphraser_keeps_lengths():
    """Orthogonal maps without a bias: only the leaky ReLUs shorten."""
    torch.manual_seed(0)
    paraphraser = Paraphraser(4, 4).double()
    x = rows64(5, 4, 6)
    for module in paraphraser.encoder:
        y = module(x)
        if not isinstance(module, nn.LeakyReLU):
            torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1), rtol=1e-5, atol=0)
        x = y


def test_the_paraphraser_is_frozen_in_the_loss():
    loss = bound_loss("ft")
    result = step(loss, random_batch())
    named = {name: g for name, g in result.parameters.items() if name.startswith("paraphrasers")}
    assert named
    assert not any(gradient.any() for gradient in named.values())
    assert not any(p.requires_grad for p in loss.paraphrasers.parameters())
    assert all(p.requires_grad for p in loss.translators.parameters())
    assert all(
        g.any()
        for n, g in result.parameters.items()
        if n.endswith("2.map.weight") and n not in named
    )


def test_reconstruction_is_the_squared_error_over_valid_rows():
    loss = bound_loss("ft").double()
    teacher = random_batch(dtype=torch.float64).teacher
    valid = torch.tensor([True, False, True, True, False, True])
    exact = [
        (paraphraser(x[valid]) - x[valid]).square().mean()
        for paraphraser, x in zip(loss.paraphrasers, teacher.hidden.values(), strict=True)
    ]
    bad = teacher.map(lambda x: torch.where(valid.view(-1, *[1] * (x.ndim - 1)), x, torch.nan))
    torch.testing.assert_close(loss.reconstruction(bad, valid), exact[0] + exact[1])
    torch.testing.assert_close(loss.reconstruction(teacher.rows(valid)), exact[0] + exact[1])
    assert loss.reconstruction(bad, torch.zeros(6, dtype=torch.bool)) == 0
    half = loss.float().reconstruction(teacher.map(torch.Tensor.bfloat16))
    assert half.dtype == torch.float32


def test_training_the_paraphraser_lowers_its_loss_and_freezes_it_again():
    loss = small()
    untouched = copy.deepcopy(loss.translators.state_dict())
    unseen = teacher_outputs(99)
    before = float(loss.reconstruction(unseen))
    values = loss.train_paraphraser((teacher_outputs(seed) for seed in range(300)), 1e-2)
    assert len(values) == 300
    assert values[0] == pytest.approx(before, rel=0.5)
    assert float(loss.reconstruction(unseen)) < 0.2 * before
    assert not any(p.requires_grad or p.grad is not None for p in loss.paraphrasers.parameters())
    torch.testing.assert_close(dict(loss.translators.state_dict()), dict(untouched), rtol=0, atol=0)


def test_the_paraphraser_may_be_trained_without_gradient_mode_and_by_hand():
    loss, by_hand = small(), small()
    with torch.no_grad():
        loss.train_paraphraser([teacher_outputs(0)])
    by_hand.paraphrasers.requires_grad_()
    optimizer = torch.optim.Adam(by_hand.paraphrasers.parameters(), lr=1e-3)
    by_hand.reconstruction(teacher_outputs(0)).backward()
    optimizer.step()
    torch.testing.assert_close(dict(by_hand.state_dict()), dict(loss.state_dict()))
    assert not torch.equal(next(loss.parameters()), next(small().parameters()))


def test_an_interrupted_training_leaves_it_frozen():
    loss = small()
    with pytest.raises(ValueError, match=r"ft reconstructs hidden layers \['t'\] of the teacher"):
        loss.train_paraphraser([teacher_outputs(0), Outputs(torch.zeros(2, 4))])
    assert not any(p.requires_grad or p.grad is not None for p in loss.paraphrasers.parameters())


def test_errors():
    batch = random_batch()
    for call in (
        lambda: FT()(batch.student, batch.teacher),
        lambda: FT().reconstruction(batch.teacher),
        lambda: FT().train_paraphraser([batch.teacher]),
    ):
        with pytest.raises(ValueError, match=r"ft has no paraphraser .* loss\.bind\("):
            call()
    with pytest.raises(ValueError, match=r"and got none; pass a list of Outputs"):
        small().train_paraphraser(iter(()))
    for options in ({"rate": 0.0}, {"p1": 0.5}, {"p2": 0.9}):
        with pytest.raises(ValueError, match=r"ft expected rate > 0, p1 >= 1 and p2 >= 1, got"):
            FT(**options)


def torchdistill(p: int):
    loss = FTLoss(p=p)

    def value(student, teacher):
        return loss({"translator": {"output": student}}, {"paraphraser": {"output": teacher}})

    return value


def test_parity_with_torchdistill():
    agree(ft, torchdistill(1), rows64(4, 3, 2, 5), rows64(4, 3, 2, 5, seed=1))


def test_parity_with_torchdistill_in_the_squared_distance():
    """It returns the norm of the gap of a row; ours is its square over the number of elements."""
    student, teacher = rows64(1, 3, 2, 5), rows64(1, 3, 2, 5, seed=1)
    theirs = torchdistill(2)
    agree(lambda s, t: ft(s, t, p2=2.0), lambda s, t: theirs(s, t).square() / 30, student, teacher)
