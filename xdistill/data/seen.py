"""What a network sees of the rows of a dataset, as one vector a row, for a graph of neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.data.paired import PairedDataset


def seen_rows(
    dataset: PairedDataset,
    modality: str,
    encoder: nn.Module | None = None,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> Float[Tensor, "n d"]:
    """The student's side of `refine_targets`: inputs where they are vectors, else embeddings.

    A random transform (an augmentation) is drawn once for each row. Rows without the modality are
    zeros.

    Args:
        dataset: has the modality in `inputs`.
        modality: the student's.
        encoder: its embedding is taken where a row is no vector; it runs in eval mode, without
            gradient, where its parameters are.
        batch_size: rows of a batch of the encoder.
        seed: of random transforms.

    Raises:
        ValueError: the dataset or all of its rows lack the modality, or rows are no vectors and
            there is no encoder.
    """
    vectors, rows = has_vectors(dataset, modality), _rows_with(dataset, modality)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _evaluating(encoder):
        torch.manual_seed(seed)
        parts = []
        for first in range(0, len(rows), batch_size):
            some = [dataset.read(modality, row) for row in rows[first : first + batch_size]]
            if not vectors and encoder is None:
                raise ValueError(
                    f"a row of {modality} has shape {list(some[0].shape)}, expected a vector; pass "
                    "an encoder of that modality, best one that was trained on these pairs"
                )
            batch = torch.stack(some)
            parts.append(batch if vectors else _embedding(encoder, batch))
    found = torch.cat(parts)
    out = found.new_zeros(len(dataset), found.shape[1])
    out[rows] = found
    return out


def has_vectors(dataset: PairedDataset, modality: str) -> bool:
    """Whether a row of the modality, transformed, is a vector.

    Raises:
        ValueError: the dataset or all of its rows lack the modality.
    """
    with torch.random.fork_rng(devices=[]):
        return dataset.read(modality, _rows_with(dataset, modality)[0]).ndim == 1


def _rows_with(dataset: PairedDataset, modality: str) -> list[int]:
    if modality not in dataset.inputs:
        raise ValueError(
            f"the dataset has inputs {list(dataset.modalities)}, and no {modality!r}; name one of "
            "them"
        )
    rows = dataset.rows_with(modality).nonzero().flatten().tolist()
    if not rows:
        raise ValueError(f"no row of the dataset has {modality}")
    return rows


def _embedding(encoder: nn.Module | None, batch: Tensor) -> Float[Tensor, "b d"]:
    assert encoder is not None
    device = next((one.device for one in encoder.parameters()), torch.device("cpu"))
    return encoder(batch.to(device)).embedding.flatten(1).float().cpu()


@contextmanager
def _evaluating(encoder: nn.Module | None) -> Iterator[None]:
    before = [] if encoder is None else [(one, one.training) for one in encoder.modules()]
    try:
        if encoder is not None:
            encoder.eval()
        yield
    finally:
        for module, flag in before:
            module.training = flag
