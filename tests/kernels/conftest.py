"""Without a GPU, Triton's interpreter runs the Triton kernels on the CPU."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
