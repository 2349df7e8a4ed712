"""EEG as another laboratory records it: another derivation and a noisier amplifier.

The sleepers and their scoring are the same kind of thing; what changes is what such corpora differ
in most: the further the reference is from the electrode, the larger the potentials, and an older
amplifier adds some microvolts of noise and cuts off high frequencies. The numbers are ours.
"""

import numpy as np

from xdistill.data.simulation.eeg import SFREQ_HZ

GAIN = 1.25
NOISE_UV = 5.0
CUT_OFF_HZ = 35.0


def record_elsewhere(rng: np.random.Generator, eeg: np.ndarray) -> np.ndarray:
    """The potentials [n, 3000] in µV as the other laboratory's recorder writes them, float32.

    A gain of 1.25, white noise of 5 µV, and a first-order low-pass at 35 Hz without its phase.
    """
    noisy = GAIN * eeg + NOISE_UV * rng.standard_normal(eeg.shape, np.float32)
    hz = np.fft.rfftfreq(eeg.shape[1], 1 / SFREQ_HZ)
    low_pass = 1 / np.sqrt(1 + (hz / CUT_OFF_HZ) ** 2)
    spectrum = np.fft.rfft(noisy, axis=1) * low_pass
    return np.fft.irfft(spectrum, eeg.shape[1], axis=1).astype(np.float32)
