"""Every distillation loss. Importing this package registers them all."""

from __future__ import annotations

from xdistill.losses.at import AT
from xdistill.losses.binary_cross_entropy import BinaryCrossEntropy
from xdistill.losses.c2kd import C2KD
from xdistill.losses.catkd import CATKD
from xdistill.losses.cc import CC
from xdistill.losses.ccl import CCL
from xdistill.losses.cka import CKA
from xdistill.losses.clip_distill import CLIPDistill
from xdistill.losses.cmd import CMD
from xdistill.losses.crd import CRD
from xdistill.losses.cross_entropy import CrossEntropy
from xdistill.losses.dist import DIST
from xdistill.losses.dkd import DKD
from xdistill.losses.dml import DML
from xdistill.losses.fd_cmkd import FDCMKD
from xdistill.losses.fitnet import FitNet
from xdistill.losses.fsp import FSP
from xdistill.losses.ft import FT
from xdistill.losses.hsic import HSIC
from xdistill.losses.ickd import ICKD
from xdistill.losses.infonce import InfoNCE
from xdistill.losses.jeffreys import Jeffreys
from xdistill.losses.jsd import JSD
from xdistill.losses.kd import KD
from xdistill.losses.khn import KHN
from xdistill.losses.logit_mse import LogitMSE
from xdistill.losses.lskd import LSKD
from xdistill.losses.mad import MAD
from xdistill.losses.mfh import MFH
from xdistill.losses.mi_jsd import MIJSD
from xdistill.losses.mine import MINE
from xdistill.losses.mlkd import MLKD
from xdistill.losses.mse import MSE
from xdistill.losses.mst import MST
from xdistill.losses.multiclass_nce import MultiClassNCE
from xdistill.losses.nkd import NKD
from xdistill.losses.norm import NORM
from xdistill.losses.nst import NST
from xdistill.losses.ofa import OFA
from xdistill.losses.ofd import OFD
from xdistill.losses.parts.layers import LayerPair
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.salience import permutation_salience
from xdistill.losses.parts.schedule import Scheduled, ramp, warmup
from xdistill.losses.parts.weighted_sum import WeightedSum
from xdistill.losses.parts.without_labels import without_labels
from xdistill.losses.pkt import PKT
from xdistill.losses.pseudo_label import PseudoLabel
from xdistill.losses.reviewkd import ReviewKD
from xdistill.losses.rkd import RKD
from xdistill.losses.rld import RLD
from xdistill.losses.rsd import RSD
from xdistill.losses.sacd import SACD
from xdistill.losses.sdd import SDD
from xdistill.losses.siglip import SigLIP
from xdistill.losses.simkd import SimKD
from xdistill.losses.smooth_l1 import SmoothL1
from xdistill.losses.sp import SP
from xdistill.losses.srd import SRD
from xdistill.losses.supcon import SupCon
from xdistill.losses.tfkd import TfKD
from xdistill.losses.triplet import Triplet
from xdistill.losses.ttm import TTM
from xdistill.losses.ucmkd import UCMKD
from xdistill.losses.vid import VID
from xdistill.losses.wcord import WCoRD
from xdistill.losses.wkd_feature import WKDFeature
from xdistill.losses.wkd_logit import WKDLogit
from xdistill.losses.wsld import WSLD
from xdistill.losses.wttm import WTTM

__all__ = [
    "AT",
    "C2KD",
    "CATKD",
    "CC",
    "CCL",
    "CKA",
    "CMD",
    "CRD",
    "DIST",
    "DKD",
    "DML",
    "FDCMKD",
    "FSP",
    "FT",
    "HSIC",
    "ICKD",
    "JSD",
    "KD",
    "KHN",
    "LSKD",
    "MAD",
    "MFH",
    "MIJSD",
    "MINE",
    "MLKD",
    "MSE",
    "MST",
    "NKD",
    "NORM",
    "NST",
    "OFA",
    "OFD",
    "PKT",
    "RKD",
    "RLD",
    "RSD",
    "SACD",
    "SDD",
    "SP",
    "SRD",
    "TTM",
    "UCMKD",
    "VID",
    "WSLD",
    "WTTM",
    "BinaryCrossEntropy",
    "CLIPDistill",
    "CrossEntropy",
    "FitNet",
    "InfoNCE",
    "Jeffreys",
    "LayerPair",
    "LogitMSE",
    "Loss",
    "MultiClassNCE",
    "PseudoLabel",
    "ReviewKD",
    "Scheduled",
    "SigLIP",
    "SimKD",
    "SmoothL1",
    "SupCon",
    "TfKD",
    "Triplet",
    "WCoRD",
    "WKDFeature",
    "WKDLogit",
    "WeightedSum",
    "permutation_salience",
    "ramp",
    "warmup",
    "without_labels",
]
