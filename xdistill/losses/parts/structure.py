"""The similarities among the samples of a batch, transferred from teacher to student.

The SACD paper (Han et al., arXiv 2208.05814) sees each modality's batch as a graph and transfers
the teacher's graph to the student, without an equation for the edges. These terms are our own
definition: nodes are samples, and the weight of an edge is their cosine. The teacher's side is
always a constant. A graph of fewer than two nodes has no structure: its term is 0.

The third term, the Gram difference, is `xdistill.losses.sp.sp`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from xdistill import kernels
from xdistill.losses.parts.masking import given_mask, row_mask, zero_rows
from xdistill.losses.parts.unit_rows import unit_rows


def affinity(
    student: Float[Tensor, "b d"],
    teacher: Float[Tensor, "b e"],
    valid: Bool[Tensor, " b"] | None = None,
    temperature: float = 0.1,
    neighbours: int | None = None,
) -> Float[Tensor, ""]:
    """Mean over i of KL(softmax_j(A^t_ij / temperature) ‖ softmax_j(A^s_ij / temperature)), j ≠ i.

    A holds the cosines among the rows of one side. The widths may differ.

    Args:
        neighbours: keep for each row i only the edges to the k nearest rows of the teacher; None
            keeps all.
    """
    keep = row_mask(valid, student)
    s, t = unit_rows(zero_rows(student, keep)), unit_rows(zero_rows(teacher, keep))
    return kernels.affinity_kl(s, t, temperature, valid=given_mask(valid, s), neighbours=neighbours)


class GraphSimilarity(nn.Module):
    """Attention pooling and a neural tensor network, both from SimGNN (Bai et al., WSDM 2019).

    Pooling (eq. 3): h = Σ_n σ(x_nᵀ tanh(W · mean x)) · x_n. Score (eq. 4):
    relu(h_tᵀ W[1..k] h_s + V[h_t; h_s] + b), k numbers; the loss is the mean of (score − 1)².
    A bias b = 1 alone can make it 0, which teaches the student nothing: it is provided for
    comparison and is not the default.

    Args:
        dim: width D of both embeddings.
        slices: number k of scores.
    """

    def __init__(self, dim: int, slices: int = 16):
        super().__init__()
        self.context = nn.Linear(dim, dim, bias=False)
        self.bilinear = nn.Bilinear(dim, dim, slices, bias=False)
        self.linear = nn.Linear(2 * dim, slices)

    def pool(self, x: Float[Tensor, "b d"], keep: Bool[Tensor, " b"]) -> Float[Tensor, " d"]:
        """The embedding of the graph whose nodes are the rows that count."""
        x = zero_rows(x, keep)
        context = torch.tanh(self.context(x.sum(dim=0) / keep.sum().clamp(min=1)))  # [D]
        return torch.sigmoid(x @ context) @ x

    def forward(
        self,
        student: Float[Tensor, "b d"],
        teacher: Float[Tensor, "b d"],
        valid: Bool[Tensor, " b"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean of (score − 1)² over the k slices; 0 where fewer than two rows count."""
        keep = row_mask(valid, student)
        h_s, h_t = self.pool(student, keep), self.pool(teacher.detach(), keep)
        score = F.relu(self.bilinear(h_t, h_s) + self.linear(torch.cat([h_t, h_s])))  # [k]
        return torch.where(keep.sum() > 1, (score - 1).square().mean(), 0.0)
