"""Films of a night as a stream of frames, and their epochs of 30 s."""
