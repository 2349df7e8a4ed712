"""Which channels of the teacher carry information that the student's modality shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xdistill.eval_mode import eval_mode
from xdistill.losses.parts.precision import at_least_float32


@torch.no_grad()
def permutation_salience(
    student: Float[Tensor, "b k"],
    teacher: Float[Tensor, "b d"],
    readout: Callable[[Tensor], Tensor] | None = None,
    valid: Bool[Tensor, " b"] | None = None,
    repeats: int = 10,
    seed: int = 0,
) -> Float[Tensor, " d"]:
    """How much each channel of the teacher's embedding helps it to agree with the student.

    Xue et al., ICLR 2023, algorithm 1: a channel is permuted across the samples, and its salience
    is the growth of the mean squared distance between the student's output and the teacher's, on
    average over repeats. Modality-general decisive channels have a large salience; a channel
    unrelated to the student's modality has one near 0. (The paper's salience, scaled to 0 … 1, is
    an affine function of this one.) Each repeat permutes all channels in the same way, so that
    differences between channels are not due to chance.

    The paper first trains both networks together, by the two cross-entropies and this same
    distance; for networks that never agreed the salience means little. Use the whole training data,
    not a batch.

    Args:
        student: [B, K] the student's outputs: logits, or an embedding when there is no readout.
        teacher: [B, D] the teacher's embeddings of the same rows.
        readout: from [B, D] to [B, K], the teacher's classifier; a module is put in evaluation mode
            for the duration. None compares the embeddings themselves.
        valid: [B] False where a row has no teacher.
        repeats: number of permutations.
        seed: seed of the permutations.

    Returns:
        [D] salience, for `MFH.set_salience`.

    Raises:
        ValueError: numbers of rows that disagree, outputs of different widths, or no repeats.
    """
    if repeats < 1 or len(student) != len(teacher):
        raise ValueError(
            f"salience compares the same rows at least once, got {len(student)} rows of the "
            f"student, {len(teacher)} of the teacher and repeats={repeats}"
        )
    if valid is not None:
        student, teacher = student[valid], teacher[valid]
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(teacher), generator=generator) for _ in range(repeats)]
    with evaluation(readout) as read:
        before = distance(student, read(teacher))
        mixed = teacher.clone()
        salience = teacher.new_zeros(teacher.shape[1])
        for channel in range(teacher.shape[1]):
            for order in orders:
                mixed[:, channel] = teacher[order.to(teacher.device), channel]
                salience[channel] += (distance(student, read(mixed)) - before) / repeats
            mixed[:, channel] = teacher[:, channel]
    return salience


def distance(student: Float[Tensor, "b k"], teacher: Float[Tensor, "b e"]) -> Float[Tensor, ""]:
    """Mean squared distance of the outputs."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's outputs are {list(student.shape)}, the teacher's "
            f"{list(teacher.shape)}; give logits and readout=the teacher's classifier, or "
            "embeddings of one width"
        )
    return (teacher - student).square().mean()


@contextmanager
def evaluation(readout: Callable[[Tensor], Tensor] | None) -> Iterator[Callable[[Tensor], Tensor]]:
    """The function itself; a module is in evaluation mode inside and restored afterwards."""
    if not isinstance(readout, nn.Module):
        yield readout or (lambda x: x)
        return
    with eval_mode(readout):
        yield readout
