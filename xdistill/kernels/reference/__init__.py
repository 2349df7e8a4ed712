"""The losses as their papers write them, with the whole matrix of scores."""
