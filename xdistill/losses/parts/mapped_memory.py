"""The banks of `crd` in memory-mapped files, for more training rows than memory holds."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from xdistill.losses.parts.crd_memory import IndexMemory, fill
from xdistill.storage.atomic import replacing

BANKS = ("student", "teacher")
FLOAT_BYTES = 4

_owners: WeakValueDictionary[Path, MappedMemory] = WeakValueDictionary()
_locks: dict[Path, int] = {}


class MappedMemory(IndexMemory):
    """An `IndexMemory` whose banks are `student.float32` and `teacher.float32` in a folder.

    The banks stay on the CPU in float32, whatever `.to(device)` asks for. Each step reads B·(1 + K)
    rows of either bank there and moves them to the anchors' device, which synchronises with it:
    choose a small K.

    The state_dict holds the banks as it does for `IndexMemory`, and either loads the other's. The
    state_dict is authoritative and the files are scratch space, which needs no checksum: a new
    memory fills them with random rows, and loading writes into them in place. `torch.save` and
    `torch.load(..., mmap=True)` stream from and to the files; Lightning's checkpoints, and so
    `fit(run_dir=...)`, are assembled in memory first.

    A folder serves one memory at a time. It is created if it does not exist, and files of the right
    size are reused. Processes of a distributed run use subfolders by rank. A copy (`copy.deepcopy`)
    has no files: its banks are held in memory.

    Args:
        num_samples: training rows N, at least 2.
        dim: width D of the embeddings.
        num_negatives: K, cut to N − 1.
        momentum: what a slot keeps of itself when its row is seen again.
        folder: where the files are kept; 8·N·D bytes.

    Raises:
        ValueError: another memory uses the folder, or a file in it has another size.
        OSError: the disk has no room; names the file.
    """

    student: Tensor
    teacher: Tensor

    def __init__(
        self, num_samples: int, dim: int, num_negatives: int, momentum: float, folder: str | Path
    ):
        self.folder = _own_folder(folder)
        super().__init__(num_samples, dim, num_negatives, momentum)

    def make_banks(self) -> None:
        _claim(self.folder, self)
        shape = (self.num_samples, self.dim)
        paths = [self.folder / f"{name}.float32" for name in BANKS]
        for path in paths:
            _reserve(path, shape)
        # Not buffers: those would move with the module.
        self.student, self.teacher = (fill(_map(path, shape)) for path in paths)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in BANKS:
            destination[prefix + name] = getattr(self, name)

    def _load_from_state_dict(
        self, state_dict, prefix, metadata, strict, missing, unexpected, errors
    ):
        super()._load_from_state_dict(
            state_dict, prefix, metadata, strict, missing, unexpected, errors
        )
        for name in BANKS:
            key, bank = prefix + name, getattr(self, name)
            if key in unexpected:
                unexpected.remove(key)
            if key not in state_dict:
                missing.append(key)
            elif state_dict[key].shape != bank.shape:
                errors.append(
                    f"size mismatch for {key}: the checkpoint has {list(state_dict[key].shape)}, "
                    f"the file in {self.folder} {list(bank.shape)}"
                )
            else:
                bank.copy_(state_dict[key])


def _own_folder(folder: str | Path) -> Path:
    """The folder of this process: a subfolder unless its rank is 0."""
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    path = Path(folder).expanduser().resolve()
    return path / f"rank{rank}" if rank else path


def _claim(folder: Path, memory: MappedMemory) -> None:
    """Reserve the folder for this memory, against others here and in other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder in _owners:
        gc.collect()  # a finished trainer may keep its loss alive in a reference cycle
    if folder in _owners or not _lock(folder):
        raise ValueError(
            f"the banks in {folder} are in use by another loss, here or in another process; give "
            "each its own folder as memory_map, or delete the other loss first"
        )
    _owners[folder] = memory


def _lock(folder: Path) -> bool:
    """Lock a folder until this process ends or is killed; False if another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    if folder not in _locks:
        # The descriptor stays open, since closing it would unlock.
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return False
        _locks[folder] = descriptor
    return True


def _reserve(path: Path, shape: tuple[int, int]) -> None:
    """Create a file of the right size. Space is allocated now: a full disk would crash later."""
    size = shape[0] * shape[1] * FLOAT_BYTES
    if path.exists() and path.stat().st_size != size:
        raise ValueError(
            f"{path} holds {path.stat().st_size} bytes, but banks of {shape[0]} rows of width "
            f"{shape[1]} take {size}; it belongs to another dataset or width, so delete it or "
            "give another folder as memory_map"
        )
    if not path.exists():
        with replacing(path) as partial, open(partial, "wb") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)


def _map(path: Path, shape: tuple[int, int]) -> Tensor:
    rows, columns = shape
    numbers = torch.from_file(str(path), shared=True, size=rows * columns, dtype=torch.float32)
    return numbers.view(shape)
