"""How the mined losses choose negatives, and what they sum over those chosen."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Int64
from torch import Tensor

from xdistill.kernels.mined.mining import Mining

Form = Literal["triplet", "nce"]


class Options(NamedTuple):
    """The options of `khn` that do not concern its positives.

    Attributes:
        margin: of form="triplet" and of mining="semihard".
        num_negatives: K, the most negatives that are chosen at a time.
        mining: how they are chosen.
        form: what is summed.
        temperature: of form="nce".
        seed: of mining="random".
    """

    margin: float
    num_negatives: int
    mining: Mining
    form: Form
    temperature: float
    seed: Int64[Tensor, ""]
