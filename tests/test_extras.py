"""Without a library of an extra: one sentence that names the extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import sys
sys.modules[{library!r}] = None
import xdistill as xd
try:
    {use}
except ImportError as error:
    print(error)
"""
CASES = [
    ("lightning", "train", "xd.fit"),
    ("torchmetrics", "train", "xd.fit"),
    ("lightning", "train", "xd.recipe"),
    ("lightning", "train", "xd.cross_fit_teacher"),
    ("tyro", "train", "from xdistill.experiment import *; cli(print, Options)"),
    ("timm", "image", "xd.create_encoder('timm/resnet18')"),
    ("torchvision", "video", "xd.create_encoder('torchvision/mc3_18')"),
    ("torchvision", "video", "xd.create_encoder('r2plus1d_18')"),
    ("braindecode", "eeg", "xd.create_encoder('braindecode/EEGNet')"),
    ("braindecode", "eeg", "xd.create_encoder('attnsleep')"),
    ("torchaudio", "audio", "xd.create_encoder('audio_small')"),
    ("transformers", "hf", "xd.create_encoder('hf/folder')"),
    ("onnx", "export", "xd.export(xd.create_encoder('mlp', in_features=2), 'm', input_shape=[2])"),
    ("torchmetrics", "train", "import xdistill.metrics as m; m.metric_collection(3)"),
    ("torchmetrics", "train", "import xdistill.multi_label as m; m.multi_label_metrics(3)"),
    ("torchmetrics", "train", "import xdistill.regression as m; m.RegressionMetrics(1)"),
    ("scipy", "train", "import xdistill.report as r; r.interval([0.1, 0.2])"),
    ("matplotlib", "train", "import xdistill.plotting"),
]


@pytest.mark.parametrize(("library", "extra", "use"), CASES)
def test_the_extra_is_named(library, extra, use):
    code = BLOCKED.format(library=library, use=use)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert library in line and f"pip install xdistill[{extra}]" in line
