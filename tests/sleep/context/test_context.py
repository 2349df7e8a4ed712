"""The context over a night: the smoother against a slow twin, and the network's promises."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from xdistill.sleep.context.head import ContextHead, staged, train_head
from xdistill.sleep.context.hmm import Hmm, fit_hmm, smooth, tuned
from xdistill.sleep.context.sequence import NightRows, log_loss

K, D = 3, 4
STICKY = Hmm((0.6, 0.3, 0.1), ((0.8, 0.1, 0.1), (0.2, 0.7, 0.1), (0.1, 0.3, 0.6)), (0.5, 0.3, 0.2))


def night(seed: int, epochs: int = 60, sharp: float = 1.5, name: str = "n") -> NightRows:
    """Stages that stay for a while, and a student who is often wrong."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(6, 14, (epochs,), generator=generator)
    stages = torch.randint(K, (epochs,), generator=generator).repeat_interleave(lengths)[:epochs]
    logits = sharp * torch.nn.functional.one_hot(stages, K) + torch.randn(
        epochs, K, generator=generator
    )
    rows = torch.cat([torch.randn(epochs, D, generator=generator), logits], dim=1)
    return NightRows(name, name, rows, torch.ones(epochs, dtype=torch.bool), stages)


def brute_force(hmm: Hmm, probabilities: torch.Tensor, valid: list[bool], causal: bool):
    """The sum over every course of stages, in float64."""
    likely = (probabilities.double() / torch.tensor(hmm.prior)) ** hmm.trust
    epochs = len(valid)
    found = torch.zeros(epochs, K, dtype=torch.float64)
    for until in range(epochs):
        seen = range(until + 1) if causal else range(epochs)
        for course in product(range(K), repeat=len(seen)):
            weight = hmm.start[course[0]]
            for before, after in pairwise(course):
                weight *= hmm.moves[before][after]
            for epoch, stage in zip(seen, course, strict=True):
                weight *= float(likely[epoch, stage]) if valid[epoch] else 1.0
            found[until, course[until]] += weight
    return found / found.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("trust", [1.0, 0.4])
def test_smoothing_sums_over_all_courses(causal, trust):
    probabilities = torch.softmax(torch.randn(5, K, generator=torch.manual_seed(0)), dim=1)
    valid = [True, False, True, True, False]
    hmm = STICKY._replace(trust=trust)
    found = smooth(hmm, probabilities, torch.tensor(valid), causal=causal)
    expected = brute_force(hmm, probabilities, valid, causal)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_long_night_does_not_underflow():
    probabilities = torch.full((5000, K), 1e-30)
    probabilities[:, 1] = 1.0
    found = smooth(STICKY, probabilities, torch.ones(5000, dtype=torch.bool))
    assert bool(torch.isfinite(found).all()) and bool((found.argmax(dim=1) == 1).all())


def test_transitions_are_counted_within_nights_and_not_over_gaps():
    first, second = night(0)._replace(target=torch.tensor([0, 0, -1, 1])), night(1)
    second = second._replace(target=torch.tensor([2, 2]))
    hmm = fit_hmm([first, second], K, extra=0.5)
    assert np.array(hmm.moves)[0].tolist() == pytest.approx([1.5 / 2.5, 0.5 / 2.5, 0.5 / 2.5])
    assert np.array(hmm.moves)[1].tolist() == pytest.approx([1 / 3] * 3)
    assert hmm.start == pytest.approx((1.5 / 3.5, 0.5 / 3.5, 1.5 / 3.5))
    assert hmm.prior == pytest.approx((2.5 / 6.5, 1.5 / 6.5, 2.5 / 6.5))
    assert fit_hmm([first, second], K, balanced=True).prior == pytest.approx((1 / 3,) * 3)
    with pytest.raises(ValueError, match="no two neighbouring epochs"):
        fit_hmm([first._replace(target=torch.tensor([0, -1, 2, -1]))], K)


def test_the_smoother_and_the_head_tell_more_than_an_epoch_alone():
    train, val = [night(seed) for seed in range(6)], [night(seed) for seed in range(20, 23)]
    test = [night(seed) for seed in range(30, 34)]
    alone = log_loss(test, [one.probabilities(K) for one in test])
    hmm = tuned(fit_hmm(train, K), val, K)
    smoothed = log_loss(test, [smooth(hmm, n.probabilities(K), n.valid) for n in test])
    head = train_head(train, val, K, epochs=12)
    headed = log_loss(test, [staged(head, n.rows, n.valid) for n in test])
    assert smoothed < 0.75 * alone and headed < 0.9 * alone


def test_an_untrained_head_is_the_students_own_answer():
    one = night(0)
    found = staged(ContextHead(D, K), one.rows, one.valid)
    torch.testing.assert_close(found, one.probabilities(K))


def moved(head: ContextHead) -> ContextHead:
    torch.manual_seed(0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return head


@pytest.mark.parametrize("causal", [True, False])
def test_a_causal_head_uses_no_later_epoch(causal):
    head, one = moved(ContextHead(D, K, causal=causal)), night(0)
    rows = one.rows.clone()
    rows[40:] += 1
    before, after = (staged(head, each, one.valid)[:40] for each in (one.rows, rows))
    assert torch.equal(before, after) == causal


@pytest.mark.parametrize("causal", [True, False])
def test_nights_of_a_batch_and_what_is_not_seen_do_not_matter_to_others(causal):
    head = moved(ContextHead(D, K, causal=causal)).eval()
    long, short = night(0, 60), night(1, 40)
    rows, valid = torch.zeros(2, 60, D + K), torch.zeros(2, 60, dtype=torch.bool)
    rows[0], valid[0] = long.rows, True
    rows[1, :40], valid[1, :40] = short.rows, True
    with torch.no_grad():
        together = head(rows, valid).exp()
        torch.testing.assert_close(together[0], staged(head, long.rows, long.valid))
        torch.testing.assert_close(together[1, :40], staged(head, short.rows, short.valid))
        hidden = long.valid.clone()
        hidden[10:20] = False
        other = long.rows.clone()
        other[10:20] = 1e6
        torch.testing.assert_close(
            staged(head, long.rows, hidden), staged(head, other, hidden), rtol=1e-4, atol=1e-5
        )


def test_a_teacher_alone_teaches_the_head():
    """Nights without any label, and a teacher that knows the stages."""
    train = []
    for seed in range(4):
        one = night(seed)
        teacher = torch.nn.functional.one_hot(one.target, K) * 0.9 + 0.1 / K
        teacher[5] = torch.nan
        train.append(one._replace(target=torch.full_like(one.target, -1), teacher=teacher))
    val, test = [night(20)], [night(30), night(31)]
    head = train_head(train, val, K, epochs=10, distil=1.0)
    alone = log_loss(test, [one.probabilities(K) for one in test])
    assert log_loss(test, [staged(head, one.rows, one.valid) for one in test]) < alone
    with pytest.raises(ValueError, match="no epoch for training has a label or a teacher"):
        train_head(train, val, K, distil=0.0)


def test_the_same_seed_gives_the_same_head_and_leaves_other_random_numbers_alone():
    train, val = [night(0), night(1)], [night(2)]
    torch.manual_seed(7)
    first = train_head(train, val, K, epochs=2)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    second = train_head(train, val, K, epochs=2)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
