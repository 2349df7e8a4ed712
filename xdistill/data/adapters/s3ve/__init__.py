"""S3VE: synchronised infrared video and EEG of sleepers."""

from xdistill.data.adapters.s3ve.adapter import s3ve

__all__ = ["s3ve"]
