"""`python -m xdistill` is the command `xdistill`."""

import sys

from xdistill.cli import main

if __name__ == "__main__":
    sys.exit(main())
