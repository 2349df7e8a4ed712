"""An encoder that carries the statistics of the training rows."""

import pytest
import torch

import xdistill as xd
from xdistill.encoders import load_weights, save_weights
from xdistill.export import load_student, save_student

TABLE = torch.tensor([5.0, -3e4, 7.0]) + torch.tensor([1e-3, 400.0, 0.0]) * torch.randn(
    50, 3, generator=torch.Generator().manual_seed(0)
)


def rows(table=TABLE, name="tabular") -> xd.PairedDataset:
    return xd.PairedDataset({name: table}, [0] * len(table), classes=["a"])


def student(seed=0):
    torch.manual_seed(seed)
    return xd.create_encoder("standardized/mlp", in_features=3, num_classes=2).eval()


def test_the_inner_encoder_sees_standardised_features():
    given = student().fit_statistics(rows())
    seen = []
    given.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    given(TABLE)
    torch.testing.assert_close(seen[0].mean(dim=0), torch.zeros(3), atol=1e-3, rtol=0)
    expected = torch.tensor([1.0, 1.0, 0.0])  # the constant one is only centred
    torch.testing.assert_close(seen[0].std(dim=0, correction=0), expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(given.mean, TABLE.double().mean(dim=0).float())
    assert (given.modality, given.dim, given.num_classes) == ("tabular", 64, 2)


def test_a_signal_is_standardised_per_channel():
    eeg = 30 * torch.randn(8, 2, 300) + torch.tensor([1.0, -50.0]).view(1, 2, 1)
    data = rows(eeg, "eeg").replace(valid={"eeg": [row < 6 for row in range(8)]})
    given = xd.create_encoder("standardized/eeg_small", in_channels=2, num_classes=2)
    given.fit_statistics(data)
    kept = eeg[:6].transpose(0, 1).flatten(1)  # rows without EEG do not count
    torch.testing.assert_close(given.mean, kept.mean(dim=1), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(given.std, kept.std(dim=1, correction=0), atol=1e-3, rtol=1e-4)
    assert given(eeg).logits.shape == (8, 2)


def test_the_statistics_are_saved_with_the_student(tmp_path):
    given = student().fit_statistics(rows())
    save_weights(given, tmp_path / "w.safetensors")
    other = student(seed=1)
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other(TABLE).logits, given(TABLE).logits)
    options = {"in_features": 3, "num_classes": 2}
    save_student(tmp_path, given, name="standardized/mlp", options=options, classes=["a", "b"])
    assert torch.equal(load_student(tmp_path).encoder(TABLE).logits, given(TABLE).logits)


def test_statistics_that_are_not_there():
    with pytest.raises(ValueError, match="statistics of this encoder are not known yet; call"):
        student()(TABLE)
    with pytest.raises(ValueError, match="pass in_channels"):
        xd.create_encoder("standardized/mlp")
    with pytest.raises(ValueError, match="no row of the dataset has 'tabular'"):
        student().fit_statistics(rows(name="other"))
    bad = TABLE.clone()
    bad[4, 0] = torch.nan
    for table in (bad, TABLE[:, :2]):
        with pytest.raises(ValueError, match="row .* of tabular has shape .* expected 3 channels"):
            student().fit_statistics(rows(table))


def test_training_leaves_them_alone():
    given = student().fit_statistics(rows())
    before = given.mean.clone()
    distiller = xd.Distiller(given, None, xd.CrossEntropy())
    (batch,) = xd.paired_loader(rows(), 50)
    distiller(batch).loss.backward()
    assert torch.equal(given.mean, before) and not given.mean.requires_grad
