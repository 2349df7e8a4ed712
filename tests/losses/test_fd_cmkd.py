from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from tests.losses.batches import bound_loss, random_batch, step
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, norm, optional, rows64, softmax
from xdistill.losses.fd_cmkd import FDCMKD, fd_high, fd_low, frequency_bands, signed_log

TARGETS = [None, [0, 1, 1, 0, 2, 1], [0, -1, 2, 1, -1, -1], [-1] * 6]


def band(row, bins):
    """The part of a row that the frequencies ±bin of its Fourier sum make up."""
    size, wanted = len(row), {k % len(row) for one in bins for k in (one, -one)}
    spectrum = [
        sum(x * cmath.exp(-2j * cmath.pi * k * n / size) for n, x in enumerate(row))
        for k in range(size)
    ]
    return [
        sum(spectrum[k] * cmath.exp(2j * cmath.pi * k * n / size) for k in wanted).real / size
        for n in range(size)
    ]


def split(row, cutoff=0.5):
    half = len(row) // 2
    edge = max(int(cutoff * half), 1)
    return band(row, range(1, edge + 1)), band(row, range(edge + 1, half + 1))


def unit(row):
    return [x / norm(row) for x in row]


def log_sign(x):
    return math.copysign(math.log(1 + abs(x)), x)


def gap(student, teacher):
    return mean([(s - t) ** 2 for s, t in zip(student, teacher, strict=True)])


def twin(student, teacher, valid, target=None, classifiers=None):
    """Equations 1 to 10 on Python floats; `classifiers` are two (weights, biases)."""
    total, classified = 0.0, []
    ours, theirs, labels = kept(valid, student, teacher, target)
    for i, (s, t) in enumerate(zip(ours, theirs, strict=True)):
        (s_low, s_high), (t_low, t_high) = split(s), split(t)
        low = gap(unit(s_low), unit(t_low))
        high = gap(*([log_sign(x) for x in unit(side)] for side in (s_high, t_high)))
        total += (low + high) / len(ours)
        if labels is not None and labels[i] >= 0:
            pairs = zip(classifiers, ((s_low, t_low), (s_high, t_high)), strict=True)
            classified.append(
                sum(
                    -math.log(softmax(affine(side, *layer))[labels[i]])
                    for layer, sides in pairs
                    for side in sides
                )
            )
    return total + mean(classified)


def affine(x, weights, biases):
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + bias
        for row, bias in zip(weights, biases, strict=True)
    ]


def test_closed_form():
    # D = 4: the only low bin is 1, the only high bin 2. cos(πn/2) = (1, 0, -1, 0) is purely low,
    # cos(πn) = (1, -1, 1, -1) purely high; the constant 5 is in neither.
    row = torch.tensor([[1.0 + 3 + 5, 0 - 3 + 5, -1 + 3 + 5, 0 - 3 + 5]])
    low, high = frequency_bands(row)
    torch.testing.assert_close(low, torch.tensor([[1.0, 0.0, -1.0, 0.0]]))
    torch.testing.assert_close(high, torch.tensor([[3.0, -3.0, 3.0, -3.0]]))
    # Unit rows (1, 0, -1, 0)/√2 and (0, 1, 0, -1)/√2 are 4·½ = 2 apart, over D = 4.
    other = torch.tensor([[0.0, 1.0, 0.0, -1.0]])
    torch.testing.assert_close(fd_low(low, other), torch.tensor(0.5))
    # Opposite unit rows of ±½: every channel is 2·log(3/2) apart.
    exact = torch.tensor((2 * math.log(1.5)) ** 2)
    torch.testing.assert_close(fd_high(high, -high), exact)
    torch.testing.assert_close(
        signed_log(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]) * math.log(2)
    )


@pytest.mark.parametrize("valid", MASKS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dim", [8, 5])
def test_twin(valid, target, dim):
    torch.manual_seed(0)
    loss = FDCMKD().bind(dim, dim, 3).double()
    batch = random_batch(6, dim, dim, dtype=torch.float64)
    heads = [(one.weight.tolist(), one.bias.tolist()) for one in loss.classifiers.children()]
    value = loss(batch.student, batch.teacher, optional(target), valid=optional(valid)).detach()
    rows = batch.student.embedding.tolist(), batch.teacher.embedding.tolist()
    close(value, twin(*rows, valid, target, heads))


def test_parity_with_numpy():
    student, teacher = rows64(7, 12), rows64(7, 12, seed=1)

    def bands(x):
        spectrum = np.fft.rfft(x, axis=1)
        low, high = spectrum.copy(), spectrum.copy()
        low[:, [0, 4, 5, 6]] = 0  # D/4 = 3
        high[:, :4] = 0
        parts = [np.fft.irfft(part, n=12, axis=1) for part in (low, high)]
        return [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]

    (s_low, s_high), (t_low, t_high) = bands(student.numpy()), bands(teacher.numpy())
    logged = [np.sign(x) * np.log1p(np.abs(x)) for x in (s_high, t_high)]
    expected = ((s_low - t_low) ** 2).mean() + ((logged[0] - logged[1]) ** 2).mean()
    ours, theirs = frequency_bands(student), frequency_bands(teacher)
    close(fd_low(ours.low, theirs.low) + fd_high(ours.high, theirs.high), expected)


def test_gradcheck():
    valid = torch.tensor([True, False, True])

    def both(student, teacher):
        ours, theirs = frequency_bands(student), frequency_bands(teacher)
        return fd_low(ours.low, theirs.low, valid) + fd_high(ours.high, theirs.high, valid)

    gradcheck(both, rows64(3, 6), rows64(3, 6, seed=1))
    gradcheck(signed_log, torch.tensor([-2.0, -0.1, 0.1, 2.0], dtype=torch.float64))


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 16, 17])
def test_bands_add_up_to_the_row_without_its_mean(dim):
    row = rows64(3, dim)
    bands = frequency_bands(row, cutoff=0.4)
    torch.testing.assert_close(bands.low + bands.high, row - row.mean(dim=1, keepdim=True))


def test_neither_shift_nor_scale_of_an_embedding_counts():
    loss = FDCMKD(align_weight=0)
    batch = random_batch(dtype=torch.float64)
    moved = batch.teacher.with_embedding(3 * batch.student.embedding + 7)
    close(loss(batch.student, moved), 0.0)
    assert loss(batch.student, batch.teacher) > 0.01


def test_the_high_band_forgives():
    """A gap's pull falls as it grows: the derivative of log(1 + x) at x is 1/(1 + x)."""
    x = torch.tensor([0.0, 1.0, -3.0], requires_grad=True)
    signed_log(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 0.5, 0.25]))


def test_cutoff_moves_the_edge():
    row = rows64(2, 16)
    for cutoff, edge in ((0.25, 2), (0.5, 4), (1.0, 8)):
        spectrum = torch.fft.rfft(frequency_bands(row, cutoff).low, dim=1).abs()
        assert (spectrum[:, 1 : edge + 1] > 1e-6).all()
        assert (spectrum[:, edge + 1 :] < 1e-9).all() and (spectrum[:, 0] < 1e-9).all()


def test_weights_and_terms():
    batch = random_batch()
    loss = bound_loss("fd_cmkd", low_weight=2.0, high_weight=3.0, align_weight=0.5)
    value = step(loss, batch).value
    low, high, align = (loss.terms[f"fd_cmkd/{part}"] for part in ("low", "high", "align"))
    assert min(low, high, align) > 0
    torch.testing.assert_close(value, 2 * low + 3 * high + 0.5 * align)


def test_the_classifiers_learn_from_both_sides():
    """Each class's biases feel student and teacher: twice what one side gives for equal rows."""
    batch = random_batch()
    same = batch.change(teacher=batch.student)
    loss = bound_loss("fd_cmkd")
    gradients = step(loss, same).parameters
    assert all(gradient.any() for gradient in gradients.values())
    one_side = torch.nn.functional.cross_entropy(
        loss.classifiers.low(frequency_bands(batch.student.embedding).low), batch.target
    )
    (expected,) = torch.autograd.grad(one_side, [loss.classifiers.low.bias])
    torch.testing.assert_close(gradients["classifiers.low.bias"], 2 * expected)


def test_projectors_learn_where_widths_differ():
    gradients = step(bound_loss("fd_cmkd", teacher_dim=5), random_batch(teacher_dim=5)).parameters
    assert gradients["teacher_projector.2.weight"].any()
    assert gradients["student_projector.2.weight"].any()


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match="needs num_classes"):
        FDCMKD().bind(8, 8)
    with pytest.raises(ValueError, match="no shared classifiers yet; call loss.bind"):
        FDCMKD()(batch.student, batch.teacher, batch.target)
    with pytest.raises(ValueError, match="cutoff is the share of low frequencies, in .*, got 1.5"):
        FDCMKD(cutoff=1.5)
    assert FDCMKD(align_weight=0).bind(8, 8).classifiers is None
    assert FDCMKD(num_classes=4).bind(8, 8).classifiers.high.out_features == 4
