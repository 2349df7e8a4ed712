from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64, softmax
from tests.losses.parity import agree
from xdistill.losses.mfh import MFH, mfh_embedding, salient_channels

SALIENCE = torch.tensor([0.1, 0.9, -0.2, 0.5, 0.3, 0.8, 0.0, 0.2])


def embedding_twin(student, teacher, channels, valid):
    rows = zip(*kept(valid, student, teacher), strict=True)
    on = [j for j, wanted in enumerate(channels) if wanted]
    return mean([mean([(s[j] - t[j]) ** 2 for j in on]) for s, t in rows])


def logit_twin(logits, teacher, weight, bias, channels, off, temperature, valid):
    """The divergence of the student from the teacher that hears its salient channels alone."""
    values = []
    for z_s, row in zip(*kept(valid, logits, teacher), strict=True):
        heard = [x if on else o for x, on, o in zip(row, channels, off, strict=True)]
        z_t = [
            sum(w * x for w, x in zip(ws, heard, strict=True)) + b
            for ws, b in zip(weight, bias, strict=True)
        ]
        p_s, p_t = (softmax([z / temperature for z in one]) for one in (z_s, z_t))
        values.append(sum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True)))
    return temperature**2 * mean(values)


def test_closed_form():
    # Channels 0 and 2 are on: ((3 - 1)² + (0 - 1)²)/2 in the only row.
    student, teacher = torch.tensor([[3.0, 9.0, 0.0]]), torch.tensor([[1.0, -7.0, 1.0]])
    value = mfh_embedding(student, teacher, torch.tensor([True, False, True]))
    torch.testing.assert_close(value, torch.tensor(2.5))
    # The classifier hears 2·ln 3 in channel 0 and nothing of channel 1: p = 3/4, 1/4 at T = 2.
    classifier = nn.Linear(2, 2, bias=False)
    nn.init.eye_(classifier.weight)
    loss = MFH(classifier, share_off=0.5, temperature=2.0).set_salience(torch.tensor([1.0, 0.0]))
    batch = random_batch(1, 2, 2)
    theirs = batch.teacher.with_embedding(torch.tensor([[2 * math.log(3.0), 5.0]]))
    value = loss(replace(batch.student, logits=torch.zeros(1, 2)), theirs)
    exact = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    torch.testing.assert_close(value, torch.tensor(exact))


@pytest.mark.parametrize("valid", MASKS)
def test_twin_of_embeddings(valid):
    student, teacher = rows64(6, 4), rows64(6, 4, seed=1)
    channels = [True, False, True, True]
    value = mfh_embedding(student, teacher, torch.tensor(channels), optional(valid))
    close(value, embedding_twin(student.tolist(), teacher.tolist(), channels, valid))


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("off", [None, rows64(8, seed=5)])
def test_twin_of_logits(valid, off):
    torch.manual_seed(0)
    classifier = nn.Linear(8, 3).double()
    loss = MFH(classifier, temperature=2.0).set_salience(SALIENCE.double(), off)
    batch = random_batch(dtype=torch.float64)
    value = loss(batch.student, batch.teacher, valid=optional(valid))
    exact = logit_twin(
        batch.student.logits.tolist(),
        batch.teacher.embedding.tolist(),
        classifier.weight.tolist(),
        classifier.bias.tolist(),
        [False, True, False, False, False, True, False, False],
        [0.0] * 8 if off is None else off.tolist(),
        2.0,
        valid,
    )
    close(value, exact)


def test_parity_with_torch():
    """A classifier whose columns are zeroed by hand, and KLDivLoss."""
    torch.manual_seed(0)
    classifier = nn.Linear(8, 3).double()
    loss = MFH(classifier).set_salience(SALIENCE.double())
    batch = random_batch(dtype=torch.float64)
    weight = classifier.weight.detach() * torch.tensor([0, 1, 0, 0, 0, 1, 0, 0])

    def theirs(logits):
        said = batch.teacher.embedding @ weight.T + classifier.bias.detach()
        return nn.KLDivLoss(reduction="batchmean")(logits.log_softmax(1), said.softmax(1))

    agree(
        lambda logits: loss(replace(batch.student, logits=logits), batch.teacher),
        theirs,
        batch.student.logits,
    )


def test_parity_with_numpy_without_a_classifier():
    student, teacher = rows64(6, 8), rows64(6, 8, seed=1)
    channels = salient_channels(SALIENCE, 0.25)
    on = channels.numpy()
    expected = np.mean((student.numpy()[:, on] - teacher.numpy()[:, on]) ** 2)
    close(mfh_embedding(student, teacher, channels), float(expected))


def test_gradcheck():
    valid, channels = torch.tensor([True, False, True]), torch.tensor([True, False, True, True])
    gradcheck(lambda s, t: mfh_embedding(s, t, channels, valid), rows64(3, 4), rows64(3, 4, seed=1))


@pytest.mark.parametrize("share_off, on", [(0.75, [1, 5]), (0.5, [1, 3, 4, 5]), (0.99, [1])])
def test_the_least_salient_channels_go(share_off, on):
    assert salient_channels(SALIENCE, share_off).nonzero().flatten().tolist() == on


def test_of_equal_channels_the_first_stay():
    assert salient_channels(torch.zeros(4), 0.5).tolist() == [True, True, False, False]
    assert salient_channels(torch.zeros(4), 0.0).all()


def test_channels_that_are_off_do_not_matter():
    loss = bound_loss("mfh").set_salience(SALIENCE)
    spoken = MFH(nn.Linear(8, 3)).set_salience(SALIENCE)
    batch = random_batch()
    off = torch.tensor([1, 0, 1, 1, 1, 0, 1, 1.0])
    moved = batch.teacher.with_embedding(batch.teacher.embedding + 100 * off)
    for one in (loss, spoken):
        before = one(batch.student, batch.teacher)
        torch.testing.assert_close(one(batch.student, moved), before)
        assert not torch.allclose(bound_loss("mfh")(batch.student, moved), before)


def test_every_channel_is_on_before_there_is_a_salience():
    torch.manual_seed(0)
    classifier, batch = nn.Linear(8, 3), random_batch()
    same = replace(batch.student, logits=classifier(batch.teacher.embedding))
    torch.testing.assert_close(MFH(classifier)(same, batch.teacher), torch.tensor(0.0))
    bound = MFH(classifier).bind(8, 8)
    assert bound.channels.all() and bound.adapter is None
    torch.testing.assert_close(bound(same, batch.teacher), torch.tensor(0.0))


def test_the_classifier_is_a_frozen_copy():
    classifier = nn.Sequential(nn.Linear(8, 3), nn.Dropout(0.5)).to(torch.bfloat16)
    loss = MFH(classifier).train()
    assert classifier.training and not loss.classifier.training
    assert all(one.requires_grad for one in classifier.parameters())
    assert not any(one.requires_grad for one in loss.parameters())
    result = step(loss, random_batch())
    assert result.value.dtype == torch.float32 and result.logits.any()


@pytest.mark.parametrize("spoken", [False, True])
def test_the_salience_survives_a_checkpoint(spoken):
    def fresh(seed):
        torch.manual_seed(seed)
        return MFH(nn.Linear(8, 3) if spoken else None).bind(8, 8)

    batch, loss, other = random_batch(), fresh(0).set_salience(SALIENCE, SALIENCE), fresh(1)
    other.load_state_dict(loss.state_dict())
    ours, theirs = (one(batch.student, batch.teacher) for one in (loss, other))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
    assert loss.bind(8, 8).channels.sum() == 2


def test_missing_rows_and_saturated_logits():
    loss = MFH(nn.Linear(8, 3)).set_salience(SALIENCE)
    batch = random_batch()
    none = step(loss, batch.change(valid=torch.zeros(6, dtype=torch.bool)))
    assert not any(tensor.any() for tensor in none.tensors().values())
    loud = replace(batch.student, logits=1e4 * batch.student.logits)
    high = batch.teacher.with_embedding(1e4 * batch.teacher.embedding)
    for tensor in step(loss, batch.change(student=loud, teacher=high)).tensors().values():
        assert torch.isfinite(tensor).all()


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="share of channels to switch off, .* got 1"):
        MFH(share_off=1)
    with pytest.raises(ValueError, match=r"each of 8 channels .* got \[5\]"):
        bound_loss("mfh").set_salience(torch.ones(5))
    with pytest.raises(ValueError, match=r"got \[8\] and \[5\]"):
        MFH().set_salience(torch.ones(8), torch.ones(5))
    with pytest.raises(ValueError, match="mask of 5 channels, the teacher's embedding has 8"):
        MFH().set_salience(torch.ones(5))(batch.student, batch.teacher)
    with pytest.raises(ValueError, match="mfh compares class logits"):
        MFH(nn.Linear(8, 3))(replace(batch.student, logits=None), batch.teacher)
    with pytest.raises(ValueError, match="got 8 .student. and 5 .teacher.; call loss.bind"):
        MFH()(batch.student, random_batch(teacher_dim=5).teacher)
