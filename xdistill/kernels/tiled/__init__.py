"""The passes in pure PyTorch, a tile of the scores at a time."""
