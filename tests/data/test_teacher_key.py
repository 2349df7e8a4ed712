"""No two teachers whose outputs differ share a key, and one teacher keeps its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import xdistill as xd
from xdistill.data.teacher_key import digest_teacher

GAIN = 2.0


@dataclass
class Scale:
    by: float


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by):
        self.by = by


class Teacher(nn.Module):
    def __init__(self, setting=None, name="setting"):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(2, 2)
        setattr(self, name, setting)


def scaled(by):
    return lambda x: by * x


def hooked(by):
    teacher = Teacher()
    teacher.body.register_forward_hook(lambda module, inputs, out: by * out)
    return teacher


def inner(by):
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, by)
    nn.init.zeros_(module.bias)
    return module


def by_default(by):
    def scale(x, gain=by):
        return gain * x

    return scale


def by_keyword(x, *, gain):
    return gain * x


PAIRS = {
    "list": ([1, 2], [1, 3]),
    "nested": ([{"a": (1, [2])}], [{"a": (1, [3])}]),
    "dict": ({"a": 1}, {"a": 2}),
    "order": (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    "set": ({1, 2}, {1, 3}),
    "dataclass": (Scale(1.0), Scale(1.5)),
    "slots": (Slotted(1), Slotted(2)),
    "tensor": (torch.tensor([1.0]), torch.tensor([1.0 + 1e-6])),
    "tensors": ([torch.zeros(2)], [torch.ones(2)]),
    "array": (np.zeros(3), np.array([0, 0, 1e-9])),
    "object array": (np.array(["a", None], object), np.array(["b", None], object)),
    "numpy number": (np.float32(1), np.float32(2)),
    "lambda": (lambda x: x + 1, lambda x: x + 2),
    "closure": (scaled(1.0), scaled(2.0)),
    "default": (by_default(1), by_default(2)),
    "partial": (partial(by_keyword, gain=1), partial(by_keyword, gain=2)),
    "method": (Scale(1.0).__eq__, Scale(2.0).__eq__),
    "built in": (torch.relu, torch.tanh),
    "class": (nn.ReLU, nn.Tanh),
    "unregistered module": ([inner(1.0)], [inner(2.0)]),
    "kind of number": (1, 1.0),
    "type": (torch.float32, torch.float16),
    "complex": (1j, 2j),
    "none": (None, False),
    "slice": (slice(0, 2), slice(0, 3)),
}


@pytest.mark.parametrize("name", ["setting", "_setting"])
@pytest.mark.parametrize("kind", PAIRS)
def test_a_setting_of_any_kind_is_part_of_the_key(kind, name):
    one, two = PAIRS[kind]
    assert digest_teacher(Teacher(one, name)) == digest_teacher(Teacher(one, name))
    assert digest_teacher(Teacher(one, name)) != digest_teacher(Teacher(two, name))


def test_a_global_that_a_function_reads_is_part_of_the_key(monkeypatch):
    teacher = Teacher(lambda x: GAIN * x)
    before = digest_teacher(teacher)
    monkeypatch.setitem(globals(), "GAIN", 3.0)
    assert digest_teacher(teacher) != before


def test_a_hook_is_part_of_the_key():
    keys = {digest_teacher(one) for one in (Teacher(), hooked(1.0), hooked(2.0))}
    assert len(keys) == 3 and digest_teacher(hooked(2.0)) in keys


def test_the_code_of_a_class_is_part_of_the_key():
    def kind(factor):
        body = f"def forward(self, x):\n    return {factor} * self.body(x)"
        space: dict = {}
        exec(body, space)
        return type("Teacher", (Teacher,), {"forward": space["forward"]})

    assert digest_teacher(kind(2)()) == digest_teacher(kind(2)())
    assert digest_teacher(kind(2)()) != digest_teacher(kind(3)())


def test_what_holds_itself_ends():
    teacher = Teacher([1])
    teacher.setting.append(teacher.setting)
    teacher.me = [teacher]
    assert digest_teacher(teacher) == digest_teacher(teacher)


def test_what_cannot_be_read_needs_a_key():
    teacher = Teacher({"lock": threading.Lock()})
    with pytest.raises(ValueError, match=r"by its setting teacher\.setting\['lock'\], a _thread"):
        digest_teacher(teacher)
    assert digest_teacher(teacher, "one") == digest_teacher(teacher, "one")
    assert digest_teacher(teacher, "one") != digest_teacher(teacher, "two")


def test_compiling_and_running_a_captured_teacher_keep_the_key():
    teacher = xd.capture(
        xd.create_encoder("mlp", in_features=3, num_classes=2), ["head.classifier"]
    )
    before = digest_teacher(teacher)
    teacher(torch.randn(2, 3))
    assert digest_teacher(teacher) == before
    assert digest_teacher(torch.compile(Teacher(3))) == digest_teacher(Teacher(3))


def test_a_recurrent_network_which_holds_weak_references():
    torch.manual_seed(0)
    one = nn.GRU(3, 4)
    torch.manual_seed(0)
    assert digest_teacher(one) == digest_teacher(nn.GRU(3, 4)) != digest_teacher(nn.GRU(3, 4))


SCRIPT = """
from tests.data.test_teacher_key import PAIRS, Teacher
from xdistill.data.teacher_key import digest_teacher
print(digest_teacher(Teacher([one for one, _ in PAIRS.values()])).hex())
"""


def test_the_key_is_the_same_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for _ in range(2)
    }
    assert len(found) == 1 and len(found.pop()) > 100
