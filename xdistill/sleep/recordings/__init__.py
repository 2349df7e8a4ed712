"""Signals of a polysomnography: EEG, EOG, EMG and breathing belts."""
