"""The kernels as their papers write them, with whole matrices."""
