"""Cross-modal knowledge distillation: paired samples, encoders, one latent space, losses.

Importing this package loads neither Lightning nor the library of any modality. They are loaded on
first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xdistill import kernels, losses
from xdistill.data.any_dataset import as_paired
from xdistill.data.audit import audit
from xdistill.data.cache import cache_teacher
from xdistill.data.calibrate import calibrate_teacher
from xdistill.data.collate import collate
from xdistill.data.labels import hide_labels, keep_labels_of
from xdistill.data.loader import paired_loader
from xdistill.data.paired import PairedDataset
from xdistill.data.phi_s import standardise_teachers
from xdistill.data.precomputed import precomputed
from xdistill.data.refine import refine_targets
from xdistill.data.splits import (
    Splits,
    check_disjoint,
    kfold_by_group,
    split_by_group,
    split_groups,
)
from xdistill.data.unpaired import unpaired_loader
from xdistill.deploy import export
from xdistill.distiller import Distiller
from xdistill.encoders.capture import capture
from xdistill.encoders.class_map import class_map
from xdistill.encoders.expanded import expand_student
from xdistill.encoders.reuse_classifier import reuse_classifier
from xdistill.encoders.wrap import wrap
from xdistill.extras import import_extra
from xdistill.losses import *  # noqa: F403 (the one list of losses is that of the package)
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
from xdistill.types import (
    Encoder,
    EncoderModule,
    Outputs,
    PairedBatch,
    PairedSample,
    Spec,
    StepOutput,
    TargetKind,
    UnpairedBatch,
)

if TYPE_CHECKING:
    from xdistill.diagnosis import Diagnosis, diagnose
    from xdistill.engine import CrossFitted, FitResult, Recipe, cross_fit_teacher, fit, recipe
else:  # a type checker would take this function's word for every misspelt name

    def __getattr__(name: str) -> Any:
        """What trains or scores. Its modules import Lightning or torchmetrics."""
        if name in ("Diagnosis", "diagnose"):
            import_extra("torchmetrics", "train", f"xdistill.{name}")
            return getattr(importlib.import_module("xdistill.diagnosis"), name)
        if name in ("CrossFitted", "FitResult", "Recipe", "cross_fit_teacher", "fit", "recipe"):
            for library in ("lightning", "torchmetrics"):
                import_extra(library, "train", f"xdistill.{name}")
            return getattr(importlib.import_module("xdistill.engine"), name)
        raise AttributeError(f"module 'xdistill' has no attribute {name!r}")


__version__ = "0.1.0"

__all__ = [
    "EMA",
    "CrossFitted",
    "Diagnosis",
    "Distiller",
    "Encoder",
    "EncoderModule",
    "FitResult",
    "MemoryBank",
    "Modality",
    "Outputs",
    "PairedBatch",
    "PairedDataset",
    "PairedSample",
    "Recipe",
    "Spec",
    "Splits",
    "StepOutput",
    "TargetKind",
    "UnpairedBatch",
    "__version__",
    "as_paired",
    "audit",
    "cache_teacher",
    "calibrate_teacher",
    "capture",
    "check_disjoint",
    "class_map",
    "collate",
    "create_dataset",
    "create_encoder",
    "create_loss",
    "create_projector",
    "cross_fit_teacher",
    "diagnose",
    "expand_student",
    "export",
    "fit",
    "get_modality",
    "hide_labels",
    "keep_labels_of",
    "kernels",
    "kfold_by_group",
    "list_datasets",
    "list_encoders",
    "list_losses",
    "list_modalities",
    "list_projectors",
    "paired_loader",
    "precomputed",
    "recipe",
    "refine_targets",
    "register_dataset",
    "register_encoder",
    "register_loss",
    "register_modality",
    "register_projector",
    "reuse_classifier",
    "split_by_group",
    "split_groups",
    "standardise_teachers",
    "unpaired_loader",
    "wrap",
]
__all__ += losses.__all__


def __dir__() -> list[str]:
    return sorted(__all__)
