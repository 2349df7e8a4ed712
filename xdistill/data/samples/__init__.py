"""Writers of tiny samples in the true layouts of data sets, for tests and docs.

A module is named like the adapter that reads its sample. No other package imports this one.
"""

from xdistill.data.samples.av_digits import write_av_digits_sample
from xdistill.data.samples.av_mnist import write_av_mnist_sample
from xdistill.data.samples.ave import write_ave_sample
from xdistill.data.samples.ccl import write_ccl_sample
from xdistill.data.samples.crema_d import write_crema_d_sample
from xdistill.data.samples.crisismmd import write_crisismmd_sample
from xdistill.data.samples.kinetics_sounds import write_kinetics_sounds_sample
from xdistill.data.samples.mm_imdb import write_mm_imdb_sample
from xdistill.data.samples.nights import write_nights_sample
from xdistill.data.samples.nyu_depth_v2 import write_nyu_depth_v2_sample
from xdistill.data.samples.ravdess import (
    write_ravdess_arrays,
    write_ravdess_features,
    write_ravdess_films,
)
from xdistill.data.samples.sleep_edf import write_sleep_edf_sample
from xdistill.data.samples.sleep_edf_features import write_sleep_edf_features_sample
from xdistill.data.samples.ucf51 import write_ucf51_sample
from xdistill.data.samples.uci_mfeat import write_uci_mfeat_sample
from xdistill.data.samples.utd_mhad import write_utd_mhad_sample
from xdistill.data.samples.vggsound import write_vggsound_sample
from xdistill.data.samples.vggsound_50k import write_vggsound_50k_sample
from xdistill.data.samples.vggsound_100 import write_vggsound_100_sample

__all__ = [
    "write_av_digits_sample",
    "write_av_mnist_sample",
    "write_ave_sample",
    "write_ccl_sample",
    "write_crema_d_sample",
    "write_crisismmd_sample",
    "write_kinetics_sounds_sample",
    "write_mm_imdb_sample",
    "write_nights_sample",
    "write_nyu_depth_v2_sample",
    "write_ravdess_arrays",
    "write_ravdess_features",
    "write_ravdess_films",
    "write_sleep_edf_features_sample",
    "write_sleep_edf_sample",
    "write_ucf51_sample",
    "write_uci_mfeat_sample",
    "write_utd_mhad_sample",
    "write_vggsound_50k_sample",
    "write_vggsound_100_sample",
    "write_vggsound_sample",
]
