"""What a network sees of the rows of a dataset, as one vector a row, for a graph of neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xdistill.data.frozen import device_of, frozen
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
    example = _first_row(dataset, modality)
    vectors = example.ndim == 1
    if not vectors and encoder is None:
        raise ValueError(
            f"a row of {modality} has shape {list(example.shape)}, expected a vector; pass an "
            "encoder of that modality, best one that was trained on these pairs"
        )
    rows = dataset.rows_with(modality).nonzero().flatten()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = (
            torch.stack([dataset.read(modality, row) for row in some.tolist()])
            for some in rows.split(batch_size)
        )
        found = torch.cat(list(batches if vectors else _embeddings(encoder, batches)))
    out = found.new_zeros(len(dataset), found.shape[1])
    out[rows] = found
    return out


def has_vectors(dataset: PairedDataset, modality: str) -> bool:
    """Whether a row of the modality, transformed, is a vector.

    Raises:
        ValueError: the dataset or all of its rows lack the modality.
    """
    return _first_row(dataset, modality).ndim == 1


def _first_row(dataset: PairedDataset, modality: str) -> Tensor:
    if modality not in dataset.inputs:
        raise ValueError(
            f"the dataset has inputs {list(dataset.modalities)}, and no {modality!r}; name one of "
            "them"
        )
    rows = dataset.rows_with(modality).nonzero().flatten()
    if not len(rows):
        raise ValueError(f"no row of the dataset has {modality}")
    with torch.random.fork_rng(devices=[]):
        return dataset.read(modality, int(rows[0]))


def _embeddings(
    encoder: nn.Module | None, batches: Iterator[Tensor]
) -> Iterator[Float[Tensor, "b d"]]:
    assert encoder is not None  # seen_rows has refused it
    device = device_of(encoder)
    with frozen(encoder, device):
        for batch in batches:
            yield encoder(batch.to(device)).embedding.flatten(1).float().cpu()
