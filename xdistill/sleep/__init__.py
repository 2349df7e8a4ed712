"""From a night's recordings to a hypnogram: prepare nights, train on them, stage a new one.

The commands `xdistill prepare | train | stage | inspect` are in the packages of those names. What
they share lies beside them: films, the body's signals, recordings, hypnograms and their alignment.
"""
