import torch

from xdistill.losses.parts.pairs import mean_over_keys


def test_mean_over_keys():
    values = torch.tensor([[1.0, 2.0, 6.0], [1.0, torch.nan, torch.inf]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert mean_over_keys(values, mask).tolist() == [3.5, 0.0]
