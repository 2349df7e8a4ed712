"""CrisisMMD: posts about seven disasters, an image and a text each, by humanitarian category.

Alam, Ofli, Imran, "CrisisMMD: multimodal Twitter datasets from natural disasters", ICWSM 2018. The
adapter reads the features that Li et al. (MST-Distill, 2025) computed: ResNet-50 of the image,
BERTweet of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import numpy as np
import torch

from xdistill.data.cards import DatasetCard
from xdistill.data.files.archive import check_zip
from xdistill.data.files.row_orders import SOURCE, read_order
from xdistill.data.options import check_modalities
from xdistill.data.paired import PairedDataset
from xdistill.data.published_split import check_split, split_in_order
from xdistill.data.splits import Splits, split_by_group
from xdistill.registry import register_dataset

FILE, ORDER = "CMMD_data.pth", "CMMD-V2_indices.csv"
CATEGORIES = (
    "not_humanitarian",
    "affected_individuals",
    "infrastructure_and_utility_damage",
    "injured_or_dead_people",
    "missing_or_found_people",
    "rescue_volunteering_or_donation_effort",
    "vehicle_damage",
    "other_relevant_information",
)
WIDTHS = {"text_features": 768, "image_features": 2048}
CARD = DatasetCard(
    name="crisismmd",
    pairs=(("text_features", "image_features"), ("image_features", "text_features")),
    classes=len(CATEGORIES),
    size="16,058 pairs of an image and a text; 180 MB as features",
    licence="CC BY-NC-SA 4.0; posts under Twitter's terms",
    citation="Alam, Ofli, Imran, CrisisMMD, ICWSM 2018",
    source_url="https://crisisnlp.qcri.org/crisismmd",
    files=(FILE,),
)


@register_dataset(CARD)
def crisismmd(
    root: str | Path,
    *,
    modalities: Sequence[str] = tuple(WIDTHS),
    split: Literal["published", "clean"] = "clean",
    fold: int = 0,
) -> Splits:
    """CrisisMMD's features as three paired datasets.

    - ``image_features`` float32 [2048] and ``text_features`` float32 [768], as they are stored.

    A post with several images has a row for each, all with the same text; these rows are one group.

    Args:
        root: holds ``CMMD_data.pth``, a tuple of image features, text features and labels.
        modalities: of "text_features" and "image_features".
        split: "clean" draws 60, 20 and 20 % of the posts, so that no post is in two parts.
            "published" takes an order of the rows from ``CMMD-V2_indices.csv``, which splits posts.
        fold: number of the random split of "clean", or of the column of "published".

    Raises:
        FileNotFoundError: a file is missing; the message says where to get it.
        ValueError: an option is out of range, or a file is malformed.
    """
    names = check_modalities(modalities, WIDTHS)
    check_split(split)
    root = Path(root).expanduser()
    image, text, labels = _read(root / FILE)
    stored = {"image_features": image, "text_features": text}
    _, post = np.unique(text, axis=0, return_inverse=True)
    dataset = PairedDataset(
        {name: torch.from_numpy(stored[name]) for name in names},
        torch.from_numpy(labels),
        classes=CATEGORIES,
        group=torch.from_numpy(post.reshape(-1)),
    )
    if split == "published":
        return split_in_order(dataset, read_order(root / ORDER, fold, len(dataset)))
    return split_by_group(dataset, (0.6, 0.2, 0.2), seed=fold)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the layout is <root>/{FILE}, distributed at {SOURCE}, where a "
            "script makes it from the data of https://crisisnlp.qcri.org/crisismmd"
        )
    try:
        check_zip(path)
        # NumPy arrays and nothing else: a pickle of anything more is refused, not run.
        with torch.serialization.safe_globals(_numpy_names()):
            image, text, labels = (
                np.asarray(one) for one in torch.load(path, map_location="cpu", weights_only=True)
            )
    except UnpicklingError as error:
        raise ValueError(
            f"{path} holds objects other than arrays, which are not loaded, since a pickle can run "
            "code; make it again"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a tuple of three arrays ({type(error).__name__}: {error}); "
            "it may be truncated: make it again"
        ) from error
    width, text_width = WIDTHS["image_features"], WIDTHS["text_features"]
    expected = ((len(labels), width), (len(labels), text_width))
    if (image.shape, text.shape) != expected or labels.ndim != 1:
        raise ValueError(
            f"{path} has arrays of shapes {image.shape}, {text.shape} and {labels.shape}, expected "
            f"(N, {width}), (N, {text_width}) and (N,); make it again"
        )
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise ValueError(f"{path} has NaN or infinite features; make it again")
    if not np.isin(labels, np.arange(len(CATEGORIES))).all():
        raise ValueError(
            f"{path} has labels {np.unique(labels)[:12].tolist()}, expected 0 to "
            f"{len(CATEGORIES) - 1}; make it again"
        )
    return image.astype(np.float32), text.astype(np.float32), labels.astype(np.int64)


def _numpy_names() -> list:
    """The objects in a pickled array, under their names in NumPy 1 and 2."""
    reconstruct = np.zeros(1).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")]
    both = [(reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return [np.ndarray, np.dtype, *kinds, *both]
