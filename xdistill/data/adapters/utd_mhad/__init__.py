"""UTD-MHAD: depth video, inertial data and skeletons of actions."""

from xdistill.data.adapters.utd_mhad.adapter import utd_mhad

__all__ = ["utd_mhad"]
