"""The list of all adapters, one line each. Importing this package registers them.

An adapter imports the library that reads its files when it is called.
"""

from xdistill.data.adapters import av_digits as av_digits
from xdistill.data.adapters import av_mnist as av_mnist
from xdistill.data.adapters import ave as ave
from xdistill.data.adapters import ccl as ccl
from xdistill.data.adapters import crema_d as crema_d
from xdistill.data.adapters import crisismmd as crisismmd
from xdistill.data.adapters import kinetics_sounds as kinetics_sounds
from xdistill.data.adapters import mfh_gaussian as mfh_gaussian
from xdistill.data.adapters import mm_imdb as mm_imdb
from xdistill.data.adapters import nights as nights
from xdistill.data.adapters import nyu_depth_v2 as nyu_depth_v2
from xdistill.data.adapters import ravdess as ravdess
from xdistill.data.adapters import s3ve as s3ve
from xdistill.data.adapters import sleep_edf as sleep_edf
from xdistill.data.adapters import sleep_edf_features as sleep_edf_features
from xdistill.data.adapters import ucf51 as ucf51
from xdistill.data.adapters import uci_mfeat as uci_mfeat
from xdistill.data.adapters import utd_mhad as utd_mhad
from xdistill.data.adapters import vggsound as vggsound
from xdistill.data.adapters import vggsound_50k as vggsound_50k
from xdistill.data.adapters import vggsound_100 as vggsound_100
