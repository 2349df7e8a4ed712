"""The parts of `khn`: which keys may be chosen, how they are chosen, and the loss over them."""
