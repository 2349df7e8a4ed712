"""Simulated sleepers: hypnogram, EEG, infrared film, and the sample made of them."""
