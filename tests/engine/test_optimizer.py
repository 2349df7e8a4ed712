"""What `fit` optimises with: weight decay pulls at matrices and kernels alone."""

import pytest
import torch
from torch import nn

from tests.toy import toy_data, toy_encoders
from xdistill.data.loader import paired_loader
from xdistill.distiller import Distiller
from xdistill.engine import fit
from xdistill.engine.optimizer import decay_groups
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.siglip import SigLIP

QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.norm = nn.LayerNorm([4, 5])  # its gain has two axes
        self.batch = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Linear(4, 2).requires_grad_(False)
        self.temperature = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(3, 3))


def test_matrices_and_kernels_decay_and_nothing_else_does():
    net = Net()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    decays, rest = decay_groups(net, 0.1)
    assert [names[id(p)] for p in decays["params"]] == ["conv.weight", "head.weight"]
    assert decays["weight_decay"] == 0.1 and rest["weight_decay"] == 0.0
    assert {names[id(p)] for p in rest["params"]} == {
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "batch.weight",
        "batch.bias",
        "head.bias",
        "temperature",
        "bias",
    }


def test_a_bias_alone_makes_one_group():
    assert len(decay_groups(nn.BatchNorm1d(3), 0.1)) == 1


class Still(SigLIP):
    """Has a gradient of zero everywhere, so that only the decay moves parameters."""

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        return 0.0 * super().forward(student, teacher, target, valid=valid, index=index)


def test_fit_leaves_the_scale_and_the_bias_of_siglip_alone():
    loss = Still(dim=4)
    student, teacher = toy_encoders()
    distiller = Distiller(student, teacher, loss)
    before = {name: p.detach().clone() for name, p in distiller.named_parameters()}
    fit(distiller, paired_loader(toy_data(), 60), max_epochs=1, lr=0.1, weight_decay=1.0, **QUIET)
    moved = {n for n, p in distiller.named_parameters() if not torch.equal(p.detach(), before[n])}
    scalars = {name for name, p in loss.named_parameters() if p.ndim == 0}
    assert len(scalars) == 2  # log_scale and bias
    assert "student.body.weight" in moved and any("student_projector" in name for name in moved)
    assert all(before[name].ndim == 2 for name in moved)


def test_an_optimiser_of_the_callers_own_gets_all_trainable_parameters():
    got = []

    def make(parameters):
        got.extend(parameters)
        return torch.optim.SGD(got, lr=0.1)

    distiller = Distiller(*toy_encoders(), CrossEntropy() + SigLIP(dim=4))
    fit(distiller, paired_loader(toy_data(), 60), max_epochs=1, optimizer=make, **QUIET)
    assert [id(p) for p in got] == [id(p) for p in distiller.parameters() if p.requires_grad]


@pytest.mark.parametrize("size", [1, 2])
def test_an_optimiser_that_leaves_out_a_part_of_the_losses_is_told_of(size):
    def make(parameters):
        return torch.optim.SGD(list(parameters)[: 4 + 2 * size], lr=0.1)

    distiller = Distiller(*toy_encoders(), CrossEntropy() + SigLIP(dim=4))
    with pytest.warns(UserWarning, match="the optimiser trains the student but not"):
        fit(distiller, paired_loader(toy_data(), 16), max_epochs=1, optimizer=make, **QUIET)
