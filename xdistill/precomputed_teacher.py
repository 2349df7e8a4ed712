"""A teacher that is not here: batches hold its outputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from xdistill.losses.parts.loss import Loss
from xdistill.types import Outputs, PairedBatch


class PrecomputedTeacher(nn.Module):
    """Stands for a teacher whose outputs batches hold. It has no parameters and computes nothing.

    Args:
        modality: what the teacher saw.
        dim: width of its embedding; 0 without one.
    """

    def __init__(self, modality: str, dim: int):
        super().__init__()
        self.modality = modality
        self.dim = dim

    def forward(self, x: Tensor) -> Outputs:
        """Refuse: there is no network to run.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"the outputs of {self.modality!r} were to be precomputed, but the batch holds none; "
            "give the loader the dataset that xd.precomputed or cache_teacher returned"
        )


def compares(loss: Loss | Mapping[str, Loss]) -> bool:
    """Whether a loss compares with a teacher's outputs, and is not of the task alone."""
    losses = [loss] if isinstance(loss, Loss) else list(loss.values())
    return any(not leaf.task for one in losses for leaf in one.leaves())


def precomputed_teacher(example: PairedBatch | None, modality: str | None) -> PrecomputedTeacher:
    """The teacher whose outputs the example holds: that of the modality, or the only one.

    Raises:
        ValueError: there are none of it, or several to choose from.
    """
    if example is None:
        raise ValueError(
            f"the outputs of {modality!r} are precomputed, so their width is unknown; pass "
            "example=next(iter(train_loader))"
        )
    if modality is None:
        modality, _ = only_cached(example)
    if modality not in example.cached:
        raise ValueError(
            f"no teacher {modality!r}: the example holds outputs of {sorted(example.cached)}; "
            "make them with xd.precomputed or cache_teacher"
        )
    return PrecomputedTeacher(modality, example.cached[modality].embedding.shape[-1])


def only_cached(batch: PairedBatch) -> tuple[str, Outputs]:
    """The only teacher whose outputs the batch holds, and these.

    Raises:
        ValueError: there is none, or more than one.
    """
    if len(batch.cached) != 1:
        raise ValueError(
            "the loss compares with a teacher, but there is none, and the batch holds outputs of "
            f"{sorted(batch.cached) or 'none'}; pass a teacher, or the name of one of these, to "
            "Distiller (a loss of your own that looks at no teacher says so: task = True)"
        )
    return next(iter(batch.cached.items()))


def require_teacher(loss: Loss) -> None:
    """Refuse a loss on embeddings or hidden layers where no teacher tells their widths.

    Raises:
        ValueError: names the loss.
    """
    for leaf in loss.leaves():
        if not leaf.task and {"embedding", "hidden"} & set(leaf.inputs):
            raise ValueError(
                f"{leaf.label} compares with a teacher, but there is none; pass the teacher, or, "
                "if the loader's batches hold its outputs (xd.precomputed, cache_teacher), "
                "example=next(iter(train_loader)). A loss of your own that looks at no teacher "
                "says so: task = True"
            )


def require_embedding(name: str, loss: Loss, dim: int) -> None:
    """Refuse a loss on embeddings beside precomputed outputs without one.

    Raises:
        ValueError: names the loss.
    """
    for leaf in loss.leaves():
        if dim == 0 and "embedding" in leaf.inputs and not leaf.task:
            raise ValueError(
                f"{leaf.label} compares embeddings, but the outputs of {name!r} have none; pass "
                "embedding= to xd.precomputed, or take a loss on logits"
            )
