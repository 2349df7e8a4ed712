"""The passes in Triton, for CUDA. Nothing else imports Triton but `kernels.mined.triton`."""
