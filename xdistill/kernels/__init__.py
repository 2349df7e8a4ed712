"""Contrastive losses as functions of unit rows, without a matrix of similarities."""

from xdistill.kernels.affinity_kl import affinity_kl
from xdistill.kernels.infonce import infonce
from xdistill.kernels.khn import khn
from xdistill.kernels.multiclass_nce import multiclass_nce
from xdistill.kernels.siglip import siglip
from xdistill.kernels.supcon import supcon

__all__ = ["affinity_kl", "infonce", "khn", "multiclass_nce", "siglip", "supcon"]
