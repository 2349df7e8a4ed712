"""Clips of sound and frames that lists name, in the folders that different authors use."""
