"""Cross-modal knowledge distillation: paired samples, encoders, one latent space, losses.

Importing it loads neither Lightning nor any library of a modality: what needs one loads it on first
use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xdistill import kernels
from xdistill.data.audit import audit
from xdistill.data.cache import cache_teacher
from xdistill.data.paired import PairedDataset, collate, paired_loader
from xdistill.data.splits import (
    Splits,
    check_disjoint,
    hide_labels,
    kfold_by_group,
    split_by_group,
    split_groups,
)
from xdistill.distiller import Distiller
from xdistill.encoders.capture import capture
from xdistill.encoders.reuse_classifier import reuse_classifier
from xdistill.losses.at import AT
from xdistill.losses.binary_cross_entropy import BinaryCrossEntropy
from xdistill.losses.c2kd import C2KD
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
from xdistill.losses.mfh import MFH
from xdistill.losses.mi_jsd import MIJSD
from xdistill.losses.mine import MINE
from xdistill.losses.mlkd import MLKD
from xdistill.losses.mst import MST
from xdistill.losses.multiclass_nce import MultiClassNCE
from xdistill.losses.nkd import NKD
from xdistill.losses.nst import NST
from xdistill.losses.ofa import OFA
from xdistill.losses.ofd import OFD
from xdistill.losses.parts.layers import LayerPair
from xdistill.losses.parts.loss import Loss
from xdistill.losses.parts.salience import permutation_salience
from xdistill.losses.parts.schedule import Scheduled, ramp, warmup
from xdistill.losses.parts.weighted_sum import WeightedSum
from xdistill.losses.pkt import PKT
from xdistill.losses.reviewkd import ReviewKD
from xdistill.losses.rkd import RKD
from xdistill.losses.sacd import SACD
from xdistill.losses.siglip import SigLIP
from xdistill.losses.simkd import SimKD
from xdistill.losses.sp import SP
from xdistill.losses.srd import SRD
from xdistill.losses.supcon import SupCon
from xdistill.losses.tfkd import TfKD
from xdistill.losses.triplet import Triplet
from xdistill.losses.vid import VID
from xdistill.losses.wcord import WCoRD
from xdistill.losses.wsld import WSLD
from xdistill.memory import EMA, MemoryBank
from xdistill.modalities import Modality, get_modality
from xdistill.registry import (
    create_dataset,
    create_encoder,
    create_loss,
    create_projector,
    list_datasets,
    list_encoders,
    list_losses,
    list_modalities,
    list_projectors,
    register_dataset,
    register_encoder,
    register_loss,
    register_modality,
    register_projector,
)
from xdistill.types import Encoder, Outputs, PairedBatch, PairedSample, Spec, StepOutput

if TYPE_CHECKING:
    from xdistill.engine import FitResult, fit

__version__ = "0.1.0"

__all__ = [
    "AT",
    "C2KD",
    "CC",
    "CCL",
    "CKA",
    "CMD",
    "CRD",
    "DIST",
    "DKD",
    "DML",
    "EMA",
    "FDCMKD",
    "FSP",
    "FT",
    "HSIC",
    "ICKD",
    "JSD",
    "KD",
    "KHN",
    "LSKD",
    "MFH",
    "MIJSD",
    "MINE",
    "MLKD",
    "MST",
    "NKD",
    "NST",
    "OFA",
    "OFD",
    "PKT",
    "RKD",
    "SACD",
    "SP",
    "SRD",
    "VID",
    "WSLD",
    "BinaryCrossEntropy",
    "CLIPDistill",
    "CrossEntropy",
    "Distiller",
    "Encoder",
    "FitNet",
    "FitResult",
    "InfoNCE",
    "Jeffreys",
    "LayerPair",
    "LogitMSE",
    "Loss",
    "MemoryBank",
    "Modality",
    "MultiClassNCE",
    "Outputs",
    "PairedBatch",
    "PairedDataset",
    "PairedSample",
    "ReviewKD",
    "Scheduled",
    "SigLIP",
    "SimKD",
    "Spec",
    "Splits",
    "StepOutput",
    "SupCon",
    "TfKD",
    "Triplet",
    "WCoRD",
    "WeightedSum",
    "__version__",
    "audit",
    "cache_teacher",
    "capture",
    "check_disjoint",
    "collate",
    "create_dataset",
    "create_encoder",
    "create_loss",
    "create_projector",
    "fit",
    "get_modality",
    "hide_labels",
    "kernels",
    "kfold_by_group",
    "list_datasets",
    "list_encoders",
    "list_losses",
    "list_modalities",
    "list_projectors",
    "paired_loader",
    "permutation_salience",
    "ramp",
    "register_dataset",
    "register_encoder",
    "register_loss",
    "register_modality",
    "register_projector",
    "reuse_classifier",
    "split_by_group",
    "split_groups",
    "warmup",
]


def __getattr__(name: str) -> Any:
    """`fit` and `FitResult`, whose module imports Lightning."""
    if name in ("FitResult", "fit"):
        return getattr(importlib.import_module("xdistill.engine"), name)
    raise AttributeError(f"module 'xdistill' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
