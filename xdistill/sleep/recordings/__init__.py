"""Recordings of EEG, EOG, EMG and breathing, as a sleep stager needs them."""

from xdistill.sleep.recordings.epochs import SignalEpochs, signal_epochs
from xdistill.sleep.recordings.recording import Recording, Signal, read_recording

__all__ = ["Recording", "Signal", "SignalEpochs", "read_recording", "signal_epochs"]
