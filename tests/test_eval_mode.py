"""Whatever asks a network leaves each of its modules in the mode that it had."""

import pytest
import torch

import xdistill as xd
from tests.toy import toy_data, toy_encoders
from xdistill.data.frozen import frozen
from xdistill.eval_mode import eval_mode
from xdistill.experiment.hidden_layers import keep_layers
from xdistill.metrics import predict
from xdistill.valid_rows import blank_outputs

X = torch.randn(4, 6)


def in_context(network):
    with eval_mode(network):
        assert not any(module.training for module in network.modules())


def in_frozen(network):
    with frozen(network, torch.device("cpu")):
        network(X)


ASKING = {
    "eval_mode": in_context,
    "frozen": in_frozen,
    "predict": lambda network: predict(network, xd.paired_loader(toy_data(12), 4), 3),
    "blank_outputs": lambda network: blank_outputs(network, X),
    "keep_layers": lambda network: keep_layers(network, ["body"], X),
}


@pytest.mark.parametrize("name", ASKING)
def test_a_frozen_batchnorm_stays_in_eval_mode_while_the_rest_trains(name):
    student, _ = toy_encoders()
    student.train()
    student.norm.eval()
    before = {key: module.training for key, module in student.named_modules()}
    ASKING[name](student)
    assert {key: module.training for key, module in student.named_modules()} == before


def test_after_an_error_too():
    student, _ = toy_encoders()
    with pytest.raises(RuntimeError, match="in between"), eval_mode(student):
        raise RuntimeError("in between")
    assert all(module.training for module in student.modules())
