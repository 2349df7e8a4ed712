"""The command `xdistill`."""

from xdistill.cli.main import main

__all__ = ["main"]
