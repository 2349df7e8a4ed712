"""The passes over rows and keys as PyTorch operators, and their sums over processes."""
