from __future__ import annotations

import pytest
import torch
from torch import nn
from torchdistill.losses.mid_level import FSPLoss

from tests.losses.batches import STUDENT_HIDDEN, TEACHER_HIDDEN, random_batch
from tests.losses.loops import MASKS, close, gradcheck, kept, mean, optional, rows64
from tests.losses.parity import agree
from xdistill.losses.fsp import FSP, fsp, fsp_matrix
from xdistill.losses.parts.layers import LayerPair, channels_first
from xdistill.losses.parts.shared_axes import ChannelAdapter
from xdistill.types import Outputs, Spec


def matrix(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return fsp_matrix(channels_first(first), channels_first(second))


def hidden(*tensors: torch.Tensor) -> Outputs:
    embedding = torch.zeros(len(tensors[0]), 1, dtype=torch.float64)
    return Outputs(embedding, hidden={f"stage{i}": x for i, x in enumerate(tensors)})


def gram(first: list, second: list) -> list[list[float]]:
    """Eq. 1 for one row: two lists of channels, each a list over positions."""
    return [[mean([x * y for x, y in zip(a, b, strict=True)]) for b in second] for a in first]


def twin(student, teacher, valid):
    """Student and teacher are lists of stages [B, C, ...] of equal sizes."""
    rows = []
    for i in kept(valid, list(range(len(student[0]))))[0]:
        total = 0.0
        for k in range(len(student) - 1):
            g_s, g_t = (
                gram(side[k][i].flatten(1).tolist(), side[k + 1][i].flatten(1).tolist())
                for side in (student, teacher)
            )
            gaps = [a - b for s, t in zip(g_s, g_t, strict=True) for a, b in zip(s, t, strict=True)]
            total += mean([gap * gap for gap in gaps])
        rows.append(total)
    return mean(rows)


def stages(seed: int, *shapes: tuple[int, ...], rows: int = 6) -> list[torch.Tensor]:
    return [rows64(rows, *shape, seed=seed + i) for i, shape in enumerate(shapes)]


def test_closed_form():
    # G_s = (1·2 + 2·3)/2 = 4 and (1·0 + 2·1)/2 = 1; G_t = 0 and 3: ((4−0)² + (1−3)²)/2 = 10.
    first, second = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[2.0, 3.0], [0.0, 1.0]]])
    found = matrix(first, second)
    torch.testing.assert_close(found, torch.tensor([[[4.0, 1.0]]]))
    torch.testing.assert_close(fsp(found, torch.tensor([[[0.0, 3.0]]])), torch.tensor(10.0))


@pytest.mark.parametrize("valid", MASKS)
def test_twin(valid):
    shapes = (2, 3, 2), (4, 3, 2), (3, 3, 2)
    student, teacher = stages(0, *shapes), stages(9, *shapes)
    value = FSP()(hidden(*student), hidden(*teacher), valid=optional(valid))
    close(value, twin(student, teacher, valid))


def test_gradcheck():
    valid = torch.tensor([True, False, True])

    def value(a, b, c, d):
        return fsp(matrix(a, b), matrix(c, d), valid)

    gradcheck(value, *stages(0, (2, 4, 2), (3, 2, 2), (2, 3), (3, 6), rows=3))


def test_the_larger_stage_is_max_pooled():
    first, second = torch.tensor([[[1.0, 5.0, 2.0, 0.0]]]), torch.tensor([[[1.0, 10.0]]])
    torch.testing.assert_close(matrix(first, second), torch.tensor([[[(5.0 + 20.0) / 2]]]))
    torch.testing.assert_close(matrix(second, first), torch.tensor([[[(5.0 + 20.0) / 2]]]))


def test_stages_that_differ_in_rank():
    """What one stage lacks is averaged away in the other; with a vector all positions are."""
    video, signal, vector = rows64(2, 3, 4, 2, 2), rows64(2, 5, 4, seed=1), rows64(2, 6, seed=2)
    exact = torch.einsum("bct,bet->bce", video.mean((3, 4)), signal) / 4
    torch.testing.assert_close(matrix(video, signal), exact)
    exact = signal.mean(2)[:, :, None] * vector[:, None]
    torch.testing.assert_close(matrix(signal, vector), exact)


def test_no_axis_is_shared_across_modalities():
    image, signal = stages(0, (3, 4, 5), (2, 4, 5)), stages(5, (3, 7), (2, 7))
    value = FSP()(hidden(*image), hidden(*signal))
    torch.testing.assert_close(value, fsp(matrix(*image), matrix(*signal)))


def test_order_of_positions_does_not_matter_but_that_of_channels_does():
    student, teacher = stages(0, (3, 5), (2, 5)), stages(5, (3, 5), (2, 5))
    value = FSP()(hidden(*student), hidden(*teacher))
    turned = [x.flip(2) for x in student]
    torch.testing.assert_close(FSP()(hidden(*turned), hidden(*teacher)), value)
    swapped = [student[0].flip(1), student[1]]
    assert not torch.isclose(FSP()(hidden(*swapped), hidden(*teacher)), value)


def test_adapters_where_channels_differ():
    spec = Spec(8, {"a": (4, 6), "b": (3, 6)}), Spec(8, {"a": (4, 8), "b": (5, 8)})
    loss = FSP().bind(*spec).double()
    assert isinstance(loss.adapters[0], nn.Identity)
    assert isinstance(loss.adapters[1], ChannelAdapter)
    first, second = stages(0, (4, 6), (3, 6), rows=2)
    teacher = stages(5, (4, 8), (5, 8), rows=2)
    exact = fsp(matrix(first, loss.adapters[1](second)), matrix(*teacher))
    torch.testing.assert_close(loss(hidden(first, second), hidden(*teacher)), exact)


def test_axes_and_layers_are_those_asked_for():
    tokens = [x.mT for x in stages(0, (3, 5), (2, 5), (4, 5))]
    teacher = stages(5, (3, 5), (2, 5), (4, 5))
    pairs = [LayerPair(f"stage{i}", f"stage{i}", "b n c") for i in (0, 2)]
    exact = fsp(matrix(tokens[0].mT, tokens[2].mT), matrix(teacher[0], teacher[2]))
    torch.testing.assert_close(FSP(pairs)(hidden(*tokens), hidden(*teacher)), exact)


def test_errors():
    batch = random_batch()
    with pytest.raises(ValueError, match=r"fsp .* needs at least two of them, got 1; pass layers="):
        FSP(["early"])(batch.student, batch.teacher)
    match = r"fsp needs equal numbers .* got 4 \(student\) and 3 \(teacher\) in pair 0; .*bind"
    with pytest.raises(ValueError, match=match):
        FSP()(batch.student, batch.teacher)
    large, small = torch.zeros(1, 2, 4, 4, 4, 4), torch.zeros(1, 2, 2, 2, 2, 2)
    maps = [channels_first(x, "b c v t h w") for x in (large, small)]
    with pytest.raises(ValueError, match=r"fsp pools a stage .* along at most three axes"):
        fsp_matrix(*maps)
    assert fsp_matrix(maps[1], maps[1]).shape == (1, 2, 2)
    assert FSP().bind(Spec(8, STUDENT_HIDDEN), Spec(8, TEACHER_HIDDEN)).adapters is not None


@pytest.mark.parametrize("sizes", [((4, 4), (4, 4)), ((6, 3), (2, 5))])
def test_parity_with_torchdistill(sizes):
    """The matrices agree. Its loss sums lengths of columns, where eq. 2 has squares: left out."""
    student = [rows64(4, 3, *sizes[0]), rows64(4, 2, *sizes[1], seed=1)]
    teacher = [rows64(4, 3, *sizes[0], seed=2), rows64(4, 2, *sizes[1], seed=3)]

    def ours(*maps):
        return fsp(matrix(*maps[:2]), matrix(*maps[2:]))

    def theirs(*maps):
        gram = FSPLoss.compute_fsp_matrix
        return nn.functional.mse_loss(gram(*maps[:2]), gram(*maps[2:]))

    agree(ours, theirs, *student, *teacher)


def test_parity_of_the_whole_loss_with_one_channel():
    """With a 1×1 matrix its length is |G_s − G_t|, whose square ours is."""
    sides = [stages(0, (1, 3, 4), (1, 3, 4), rows=1), stages(5, (1, 3, 4), (1, 3, 4), rows=1)]
    keys = [f"{role}_{stage}" for role in ("student", "teacher") for stage in ("first", "second")]
    loss = FSPLoss({"p": {key: {"io": "output", "path": key} for key in keys}})

    def theirs(*maps):
        held = {key: {"output": x} for key, x in zip(keys, maps, strict=True)}
        return loss(held, held).square()

    agree(lambda a, b, c, d: fsp(matrix(a, b), matrix(c, d)), theirs, *sides[0], *sides[1])
