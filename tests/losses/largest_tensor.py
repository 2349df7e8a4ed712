"""How large the tensors are that a piece of code makes."""

from __future__ import annotations

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LargestTensor(TorchDispatchMode):
    """Records the largest tensor that any operation inside the block returns, backward included.

    What counts is the numbers that lie in memory: an expanded view has no more than its base, a
    slice no more than its own. Workspace that a kernel keeps to itself is not seen.

    Attributes:
        numbers: how many the largest tensor holds.
        shape: of that tensor.
        operation: that returned it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.shape: tuple[int, ...] = ()
        self.operation = ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (numbers := _numbers(tensor)) > self.numbers:
                self.numbers, self.shape = numbers, tuple(tensor.shape)
                self.operation = str(func)
        return result


def _numbers(tensor: Tensor) -> int:
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    return min(tensor.numel(), stored)
