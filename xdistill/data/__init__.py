"""Paired datasets, splits, caches, and one adapter for each benchmark.

Importing the package registers the adapters; each loads its file readers when it is called.
"""

from xdistill.data import (
    av_digits,
    av_mnist,
    ave,
    ccl,
    crema_d,
    crisismmd,
    kinetics_sounds,
    mfh_gaussian,
    mm_imdb,
    nyu_depth_v2,
    ravdess,
    s3ve,
    sleep_edf,
    sleep_edf_features,
    ucf51,
    uci_mfeat,
    utd_mhad,
    vggsound,
    vggsound_50k,
    vggsound_100,
)

__all__ = [
    "av_digits",
    "av_mnist",
    "ave",
    "ccl",
    "crema_d",
    "crisismmd",
    "kinetics_sounds",
    "mfh_gaussian",
    "mm_imdb",
    "nyu_depth_v2",
    "ravdess",
    "s3ve",
    "sleep_edf",
    "sleep_edf_features",
    "ucf51",
    "uci_mfeat",
    "utd_mhad",
    "vggsound",
    "vggsound_50k",
    "vggsound_100",
]
