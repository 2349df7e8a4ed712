"""Spoken and written digits, FSDD and MNIST."""

from xdistill.data.adapters.av_digits.adapter import av_digits

__all__ = ["av_digits"]
