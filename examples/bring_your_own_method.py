"""A loss of your own, with its row in the table of the benchmark suite.

    python examples/bring_your_own_method.py

compares it with kd and sacd on generated data in about a minute. It has the options of
benchmarks/suite.py, so that `--datasets utd_mhad --data-root DIR` compares it on real data.
"""

from pathlib import Path

import torch
from torch.nn import functional as F

import xdistill as xd
from xdistill.experiment import SuiteOptions, cli
from xdistill.experiment.suite import main


@xd.register_loss("centred_cosine")
class CentredCosine(xd.Loss):
    """1 minus the cosine of paired embeddings, after subtracting the batch's mean."""

    name = "centred_cosine"

    def forward(self, student, teacher, target=None, *, valid=None, index=None):
        keep = torch.ones(len(student.embedding), dtype=torch.bool) if valid is None else valid
        pair = [outputs.embedding[keep] for outputs in (student, teacher)]
        if not keep.any():
            return 0 * student.embedding.sum()
        centred = [rows - rows.mean(dim=0) for rows in pair]
        return 1 - F.cosine_similarity(*centred).mean()


if __name__ == "__main__":
    mine = SuiteOptions(
        datasets=("mfh_gaussian",),
        methods=("kd", "sacd", "centred_cosine"),
        seeds=2,
        out=Path("runs/bring_your_own_method"),
    )
    cli(main, SuiteOptions, default=mine)
