"""What the rest of a night says of an epoch: a hidden Markov model, and a network over epochs."""
