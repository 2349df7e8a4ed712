"""A digest of what a teacher's outputs follow from: its tensors, its settings and its code."""

from __future__ import annotations

import inspect
import logging
import pickle
import sys
import weakref
from collections.abc import Mapping, Set
from enum import Enum
from functools import partial
from hashlib import blake2b
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
from torch import Tensor, fx, nn

from xdistill.storage.checksums import add_tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, torch.dtype)
NAMED = (torch.device, np.dtype, np.generic, Enum, PurePath)
OWN = frozenset(vars(nn.Module())) | {
    "_compiled_call_impl",
    "_is_torch_compile",
    "_compile_kwargs",  # of torch.compile, once Lightning is imported
}
"""Attributes that every module has; its tensors, children and hooks are taken by themselves."""
LIBRARIES = ("torch", "numpy")
"""Code that changes with a version, which is in the key, and not under a user's hands."""


def digest_teacher(teacher: nn.Module, key: str | None = None) -> bytes:
    """A digest that differs whenever the outputs of two teachers may.

    It covers all tensors, registered or not, every attribute of every module (containers,
    dataclasses, arrays, functions and objects with all that they hold), the code of their classes
    and of functions among their attributes and hooks, and the values that these refer to.

    Args:
        teacher: what to digest.
        key: stands for settings that cannot be read, such as an open file or a C++ object.

    Raises:
        ValueError: there is such a setting and no key for it.
    """
    digest = _Digest(key)
    digest.text(torch.__version__)
    digest.add("teacher", teacher)
    return digest.hasher.digest()


class _Digest:
    """Walks through a value and hashes what it meets; what it meets again is hashed as such."""

    def __init__(self, key: str | None):
        self.hasher = blake2b()
        self.key = key
        self.met: dict[int, int] = {}
        self.alive: list[object] = []  # an id is taken again once its object is gone

    def text(self, *parts: str) -> None:
        for part in parts:
            encoded = part.encode("utf-8", "surrogatepass")
            self.hasher.update(len(encoded).to_bytes(8, "little") + encoded)

    def add(self, where: str, value: object) -> None:
        if isinstance(value, nn.Module):  # torch.compile wraps it, with the same outputs
            value = value._modules.get("_orig_mod") or value
        self.text(where.rpartition(".")[2], _name_of(type(value)))
        if type(value) in PLAIN or isinstance(value, NAMED):
            self.text(repr(value))
        elif isinstance(value, Tensor):
            self._readable(where, value, lambda: add_tensor(self.hasher, "", value))
        elif isinstance(value, type | ModuleType | BuiltinFunctionType | np.ufunc):
            self.text(_name_of(value))
        elif isinstance(value, weakref.ref | logging.Logger):
            pass  # what it leads to is not its own
        elif id(value) in self.met:
            self.text(f"met {self.met[id(value)]}")
        else:
            self.met[id(value)] = len(self.met)
            self.alive.append(value)
            self._add_new(where, value)

    def _add_new(self, where: str, value: object) -> None:
        if isinstance(value, nn.Module):
            self._module(where, value)
        elif isinstance(value, np.ndarray):
            self._array(where, value)
        elif isinstance(value, Mapping):
            for number, (key, one) in enumerate(value.items()):
                self.add(f"{where}.key{number}", key)
                self.add(f"{where}[{key!r}]", one)
        elif isinstance(value, Set):
            for one in sorted(value, key=repr):
                self.add(f"{where}.element", one)
        elif isinstance(value, list | tuple):
            self.text(str(len(value)))
            for number, one in enumerate(value):
                self.add(f"{where}[{number}]", one)
        elif isinstance(value, FunctionType):
            self._function(where, value)
        elif isinstance(value, MethodType):
            self.add(f"{where}.function", value.__func__)
            self.add(f"{where}.object", value.__self__)
        elif isinstance(value, partial):
            self.add(f"{where}.function", value.func)
            self.add(f"{where}.arguments", [value.args, value.keywords])
        elif hasattr(value, "__dict__") or _slots(value):
            self._code_of(type(value))
            held = {**getattr(value, "__dict__", {}), **_slots(value)}
            for name in sorted(held):
                self.add(f"{where}.{name}", held[name])
        else:
            self._readable(where, value, lambda: self.hasher.update(pickle.dumps(value, 4)))

    def _readable(self, where: str, value: object, read) -> None:
        try:
            read()
        except Exception as error:
            if self.key is None:
                raise ValueError(
                    f"the teacher cannot be told from another one by its setting {where}, a "
                    f"{_name_of(type(value))}; pass key='…', a text of your own that changes "
                    "whenever such a setting does"
                ) from error
            self.text(self.key)

    def _module(self, where: str, module: nn.Module) -> None:
        held = {name: one for name, one in vars(module).items() if name not in OWN}
        if isinstance(module, torch.jit.ScriptModule):
            self.text(str(module.inlined_graph))
            self.add(f"{where}.tensors", dict(module.state_dict()))
            return
        if isinstance(module, fx.GraphModule):
            self.text(module.code)
            held = {name: one for name, one in held.items() if name not in ("_graph", "_code")}
        self._code_of(type(module))
        for name in sorted(held):
            self.add(f"{where}.{name}", held[name])
        for kept in (module._parameters, module._buffers, module._modules):
            for name, one in kept.items():
                self.add(f"{where}.{name}", one)
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            self.add(f"{where}.extra", module.get_extra_state())
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            self._hook(hook)

    def _array(self, where: str, array: np.ndarray) -> None:
        self.text(str(array.dtype), str(array.shape))
        if array.dtype.hasobject:
            self.add(f"{where}.elements", array.tolist())
        else:
            self.hasher.update(np.ascontiguousarray(array).tobytes())

    def _function(self, where: str, function: FunctionType) -> None:
        self.text(_name_of(function))
        self._code(function.__code__)
        if _is_of_library(function):
            return
        self.add(f"{where}.defaults", [function.__defaults__, function.__kwdefaults__])
        names, cells = function.__code__.co_freevars, function.__closure__ or ()
        for name, cell in zip(names, cells, strict=True):
            self.add(f"{where}.{name}", _content(cell))
        for name in function.__code__.co_names:
            one = function.__globals__.get(name)
            if type(one) in PLAIN or isinstance(one, Tensor | np.ndarray | FunctionType):
                self.add(f"{where}.{name}", one)

    def _hook(self, hook: object) -> None:
        """The code of a hook and its plain settings: what it collects on the way is none."""
        self.text("hook", _name_of(type(hook)))
        if isinstance(hook, partial):
            self._hook(hook.func)
            held = dict(enumerate(hook.args)) | hook.keywords
        elif isinstance(hook, MethodType):
            self._hook(hook.__func__)
            self.text(_name_of(type(hook.__self__)))
            held = getattr(hook.__self__, "__dict__", {})
        elif isinstance(hook, FunctionType):
            self.text(_name_of(hook))
            self._code(hook.__code__)
            names = hook.__code__.co_freevars
            cells = hook.__closure__ or ()
            held = {name: _content(cell) for name, cell in zip(names, cells, strict=True)}
        else:
            held = getattr(hook, "__dict__", {})
        for name, one in held.items():
            if type(one) in PLAIN or isinstance(one, Tensor | np.ndarray):
                self.add(str(name), one)

    def _code_of(self, kind: type) -> None:
        """The functions and plain values of a class and of those that it inherits from."""
        for parent in kind.__mro__:
            if parent in (nn.Module, object) or _is_of_library(parent):
                continue
            self.text(_name_of(parent))
            for name, one in sorted(vars(parent).items()):
                one = one.fget if isinstance(one, property) else getattr(one, "__func__", one)
                if isinstance(one, FunctionType):
                    self.text(name)
                    self._code(inspect.unwrap(one).__code__)
                elif type(one) in PLAIN and not name.startswith("__"):
                    self.text(name, repr(one))

    def _code(self, code: CodeType) -> None:
        self.hasher.update(code.co_code)
        self.text(*code.co_names, *code.co_freevars)
        for one in code.co_consts:
            if isinstance(one, CodeType):
                self._code(one)
            else:
                self.text(repr(sorted(map(repr, one)) if isinstance(one, frozenset) else one))


def _name_of(value: object) -> str:
    module = getattr(value, "__module__", None) or ""
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _is_of_library(value: object) -> bool:
    module = str(getattr(value, "__module__", "") or "")
    return module.partition(".")[0] in (*LIBRARIES, *sys.stdlib_module_names)


def _slots(value: object) -> dict[str, object]:
    names = [
        name
        for parent in type(value).__mro__
        for name in np.atleast_1d(vars(parent).get("__slots__", ())).tolist()
    ]
    return {one: getattr(value, one) for one in names if one[:2] != "__" and hasattr(value, one)}


def _content(cell) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return None
