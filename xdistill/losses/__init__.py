"""Distillation losses. Each file registers its own; importing the package registers them all."""

from __future__ import annotations

from xdistill.losses.ccl import CCL
from xdistill.losses.cka import CKA
from xdistill.losses.crd import CRD
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.fitnet import FitNet
from xdistill.losses.ickd import ICKD
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.jeffreys import Jeffreys
from xdistill.losses.jsd import JSD
from xdistill.losses.kd import KD
from xdistill.losses.khn import KHN
from xdistill.losses.loss import Loss, WeightedSum
from xdistill.losses.multiclass_nce import MultiClassNCE
from xdistill.losses.reviewkd import ReviewKD
from xdistill.losses.rkd import RKD
from xdistill.losses.sacd import SACD
from xdistill.losses.simkd import SimKD
from xdistill.losses.sp import SP
from xdistill.losses.srd import SRD
from xdistill.losses.supcon import SupCon
from xdistill.losses.vid import VID

__all__ = [
    "CCL",
    "CKA",
    "CRD",
    "ICKD",
    "JSD",
    "KD",
    "KHN",
    "RKD",
    "SACD",
    "SP",
    "SRD",
    "VID",
    "CrossEntropy",
    "FitNet",
    "InfoNCE",
    "Jeffreys",
    "Loss",
    "MultiClassNCE",
    "ReviewKD",
    "SimKD",
    "SupCon",
    "WeightedSum",
]
