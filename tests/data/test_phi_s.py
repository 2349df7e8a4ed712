"""Several teachers' embeddings on one scale."""

from __future__ import annotations

import pytest
import torch

import xdistill as xd
from xdistill.data.phi_s import hadamard, phi_s
from xdistill.types import Outputs


def features(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(dim, generator=generator) ** 4 * 50
    mixing = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    return (torch.randn(rows, dim, generator=generator) * spread) @ mixing + 7


@pytest.mark.parametrize("size", [1, 2, 4, 8, 12, 20, 24, 44, 64, 384, 768])
def test_hadamard_matrices(size):
    matrix = hadamard(size)
    assert matrix is not None
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size).double())
    torch.testing.assert_close(matrix.abs(), torch.full((size, size), size**-0.5).double())


@pytest.mark.parametrize("size", [3, 5, 6, 7, 10, 36, 100])
def test_orders_beyond_the_constructions(size):
    assert hadamard(size) is None


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 12, 30])
def test_every_feature_gets_a_variance_of_one(dim):
    x = features(200, dim)
    found = phi_s(x)
    y = found.apply(x.double())
    torch.testing.assert_close(y.var(dim=0), torch.ones(dim).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(dim).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.undo(y), x.double())


@pytest.mark.parametrize("dim", [5, 8])
def test_it_is_a_rotation_and_one_factor(dim):
    x, found = features(60, dim), phi_s(features(60, dim))
    factor = torch.cdist(found.apply(x.double()), found.apply(x.double())) / torch.cdist(
        x.double(), x.double()
    )
    off = ~torch.eye(60, dtype=torch.bool)
    variance = x.double().var(dim=0).mean()
    torch.testing.assert_close(factor[off], (variance**-0.5).expand(off.sum()))


def test_closed_form():
    # Two features of variance 8 and 0: each becomes the first, divided by 2 and by √2, up to sign.
    x = torch.tensor([[2.0, 1.0], [-2.0, 1.0]]).double()
    found = phi_s(x)
    torch.testing.assert_close(found.mean, torch.tensor([0.0, 1.0]).double())
    half = torch.full((2, 2), 0.5**0.5).double()
    torch.testing.assert_close(found.apply(x).abs(), half)


def test_fewer_rows_than_features():
    x = features(4, 8)
    y = phi_s(x).apply(x.double())
    torch.testing.assert_close(y.var(dim=0), torch.ones(8).double())


def taught(rows: int = 40) -> xd.PairedDataset:
    valid = {"rich": torch.arange(rows) != 3}
    return xd.PairedDataset(
        inputs={"cheap": torch.zeros(rows, 1)},
        target=torch.zeros(rows, dtype=torch.int64),
        valid=valid,
        classes=("a", "b"),
        cached={
            "rich": Outputs(100 * features(rows, 6), torch.ones(rows, 2)),
            "other": Outputs(0.01 * features(rows, 8, seed=1)),
        },
    )


def test_several_teachers_of_a_dataset():
    train = taught()
    found, fitted = xd.standardise_teachers(train)
    has = torch.arange(40) != 3
    for name in ("rich", "other"):
        rows = found.cached[name].embedding[has if name == "rich" else slice(None)]
        torch.testing.assert_close(
            rows.double().var(dim=0), torch.ones(rows.shape[1]).double(), rtol=1e-3, atol=0
        )
    old, new = train.cached["rich"], found.cached["rich"]
    assert torch.equal(old.logits, new.logits)
    assert torch.equal(old.embedding[3], new.embedding[3])  # no teacher there
    again, _ = xd.standardise_teachers(train, ["other"], fitted=fitted)
    assert torch.equal(again.cached["other"].embedding, found.cached["other"].embedding)
    assert torch.equal(again.cached["rich"].embedding, old.embedding)


def test_refusals():
    train = taught()
    with pytest.raises(ValueError, match=r"cached outputs of \['x'\], the dataset has those of"):
        xd.standardise_teachers(train, ["x"])
    with pytest.raises(ValueError, match=r"no transform of \['rich'\] in fitted"):
        xd.standardise_teachers(train, ["rich"], fitted={})
    for rows in (torch.ones(1, 3), torch.ones(5, 3)):
        with pytest.raises(ValueError, match="at least 2 rows that differ"):
            phi_s(rows)
