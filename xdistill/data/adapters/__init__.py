"""One adapter for each benchmark. Importing the package registers them all.

Each loads its file readers when it is called.
"""

from xdistill.data.adapters import (
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
    sleep_edf_features,
    uci_mfeat,
    vggsound,
    vggsound_50k,
    vggsound_100,
)
from xdistill.data.adapters.av_digits import adapter as av_digits
from xdistill.data.adapters.s3ve import adapter as s3ve
from xdistill.data.adapters.sleep_edf import adapter as sleep_edf
from xdistill.data.adapters.ucf51 import adapter as ucf51
from xdistill.data.adapters.utd_mhad import adapter as utd_mhad

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
