"""S3VE: synchronised infrared video and EEG of sleepers."""

from xdistill.data.adapters.s3ve.adapter import s3ve
from xdistill.data.adapters.s3ve.teacher import teacher_rows

__all__ = ["s3ve", "teacher_rows"]
