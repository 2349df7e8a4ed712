"""Weights on disk: safetensors, or a torch file without pickled code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from xdistill.encoders.weights_file import DIGEST, read_weights
from xdistill.storage.atomic import replacing
from xdistill.storage.checksums import of_tensors

SHOWN = 5
"""Names that an error lists before it only counts them."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into the names of tensors."""
PARALLEL = "module."
"""What DataParallel and DistributedDataParallel put before them."""


def save_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write parameters and buffers as safetensors, with a checksum of them.

    A compiled module and one inside DistributedDataParallel are written as the module itself. The
    file is written under another name and then renamed, so that an interrupted call leaves the old
    file or none.

    Raises:
        ValueError: weights that could not be loaded or used: NaN, an infinite parameter, a
            parameter that is complex or an integer, or one without a shape yet.
        OSError: the file cannot be written; names it.
    """
    tensors = weights_of(module)
    refuse_unusable(module, tensors, f"{type(module).__name__} is not saved")
    content = save(tensors, metadata={DIGEST: of_tensors(tensors)})
    with replacing(Path(path)) as partial:
        partial.write_bytes(content)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Copies of parameters and buffers on the CPU, by the names that the plain module has.

    Raises:
        ValueError: the state is not tensors alone, or a parameter has no shape yet.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in unwrapped(module).state_dict().items():
        if not isinstance(tensor, Tensor) or nn.parameter.is_lazy(tensor):
            what = "no shape yet; run it on a batch first"
            what = what if isinstance(tensor, Tensor) else f"the type {type(tensor).__name__}"
            raise ValueError(
                f"{type(module).__name__} cannot be saved as weights: {name} has {what}"
            )
        # safetensors refuses tensors that share memory; a clone has its own
        found[plain(name)] = tensor.detach().cpu().contiguous().clone()
    return found


def load_weights(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    skip: Sequence[str] = (),
    checked: bool = False,
) -> None:
    """Fill a module from a file; if a name or a shape does not match, nothing is changed.

    Names may have what torch.compile, FSDP and DistributedDataParallel add to them, in the file and
    in the module.

    Args:
        module: filled in place, on the device where it is.
        path: `.safetensors`, or anything that `torch.load(weights_only=True)` reads: a state_dict,
            alone or under "state_dict", or the `last.ckpt` of `fit`, whose best student is taken.
        skip: prefixes of names ("head."). Such tensors are ignored in the file and left unchanged
            in the module.
        checked: refuse a safetensors file without a checksum, as only `save_weights` writes one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds no weights or unusable ones (NaN, an infinite
            parameter, or numbers of another kind, as complex or int8 for float), or does not match
            the module.
    """
    path, skip = Path(path), tuple(skip)
    inner = unwrapped(module)
    state = inner.state_dict()
    own = {plain(name): name for name in state}
    read = _without_parallel(read_weights(path, checked=checked), own)
    found = {name: tensor for name, tensor in read.items() if not name.startswith(skip)}
    wanted = {name: state[at] for name, at in own.items() if not name.startswith(skip)}
    problems = differences(wanted, found)
    if problems:
        raise ValueError(
            f"{path} does not fit {type(inner).__name__}: {'; '.join(problems)}. Create the "
            "module with the options that the file was saved with"
        )
    refuse_unusable(inner, found, f"{path} is not loaded")
    inner.load_state_dict({**state, **{own[name]: tensor for name, tensor in found.items()}})


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile, DataParallel and DistributedDataParallel."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = module.module if isinstance(module, parallel) else vars(module).get("_orig_mod")
        inner = module._modules.get("_orig_mod") if inner is None else inner
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def plain(name: str) -> str:
    """The name of a tensor without what wrappers add to it."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _without_parallel(read: Mapping[str, Tensor], own: Mapping[str, str]) -> Mapping[str, Tensor]:
    """The tensors by the names of the plain module."""
    found = {plain(name): tensor for name, tensor in read.items()}
    inside = all(name.startswith(PARALLEL) for name in found)
    if inside and not all(name.startswith(PARALLEL) for name in own):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in found.items()}
    return found


def refuse_unusable(module: nn.Module, tensors: Mapping[str, Tensor], otherwise: str) -> None:
    """Refuse weights that no network can use, or that loading would change.

    Raises:
        ValueError: NaN, an infinite parameter (a buffer may be, as a mask), a parameter that is no
            real number, or a tensor of another kind of number than the module's.
    """
    inner = unwrapped(module)
    wanted = {plain(name): tensor for name, tensor in inner.state_dict().items()}
    parameters = {plain(name) for name, _ in inner.named_parameters(remove_duplicate=False)}
    for name, tensor in tensors.items():
        target = wanted.get(name, tensor)
        if name in parameters and not tensor.is_floating_point():
            reason = f"is {tensor.dtype}, and a parameter is a floating-point number"
        elif _kind(tensor) != _kind(target):
            reason = f"is {tensor.dtype}, expected {target.dtype}"
        elif tensor.is_floating_point() or tensor.is_complex():
            reason = _not_finite(tensor, target.dtype, name in parameters)
        else:
            continue
        if reason:
            raise ValueError(
                f"{otherwise}: {name} {reason}; take the weights of another epoch or file"
            )


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    if tensor.is_floating_point():
        return "float"
    return "bool" if tensor.dtype == torch.bool else "integer"


def _not_finite(tensor: Tensor, dtype: torch.dtype, parameter: bool) -> str:
    """What is wrong with the values, "" if nothing."""
    values = tensor.to(torch.float32) if tensor.element_size() == 1 else tensor
    if bool(values.isnan().any()):
        return "has NaN"
    if parameter and not bool(values.isfinite().all()):
        return "is infinite"
    if parameter and not bool(values.to(dtype).isfinite().all()):
        return f"is too large for {dtype}"
    return ""


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Why tensors do not fit a module: names that are missing or unexpected, and other shapes."""
    shapes = [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    parts = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": shapes,
    }
    return [_shorten(label, names) for label, names in parts.items() if names]


def _shorten(label: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {label} ({', '.join(names[:SHOWN])}{more})"
