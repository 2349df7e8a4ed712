"""Compare distillation methods on many data sets; see xdistill/experiment/suite.py."""

from xdistill.experiment import SuiteOptions, cli
from xdistill.experiment.suite import main

if __name__ == "__main__":
    cli(main, SuiteOptions)
