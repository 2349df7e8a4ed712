"""Paired datasets, splits, caches, and one adapter for each benchmark.

Importing the package registers the adapters; each loads its file readers when it is called.
"""

from xdistill.data import mfh_gaussian, s3ve, ucf51, uci_mfeat, utd_mhad

__all__ = ["mfh_gaussian", "s3ve", "ucf51", "uci_mfeat", "utd_mhad"]
