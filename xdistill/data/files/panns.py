"""Features of sound by PANNs CNN14 in the layout of CCL.

Chen et al., "Distilling audio-visual knowledge by compositional contrastive learning" (CVPR 2021,
CCL) distribute one .npy file of features for each clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from xdistill.data.files.arrays import read_features
from xdistill.data.files.file_column import FileColumn
from xdistill.numerics import GIB

FOLDERS = ("audiocnn14embed512_features", "ucf101_audiocnn14embed512_features")
WIDTH = 512
SOURCE = "https://github.com/yanbeic/CCL"


def panns_column(paths: Sequence[Path], keep_gib: float) -> FileColumn:
    """Vectors of 512 features, those of several windows averaged."""
    return FileColumn(paths, partial(read_features, width=WIDTH), keep_bytes=keep_gib * GIB)
