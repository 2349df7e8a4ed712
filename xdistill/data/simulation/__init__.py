"""Simulated sleepers: hypnogram, EEG and infrared film, and the sample made of them."""

from xdistill.data.simulation.sample import SampleConfig, generate

__all__ = ["SampleConfig", "generate"]
