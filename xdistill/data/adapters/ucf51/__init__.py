"""UCF51: video and sound of the 51 classes of UCF101 that have sound."""

from xdistill.data.adapters.ucf51.adapter import ucf51

__all__ = ["ucf51"]
