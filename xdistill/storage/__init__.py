"""Files of ours: written whole or not at all, damage noticed, and one run in a folder at a time."""
