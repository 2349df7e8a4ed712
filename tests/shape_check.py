"""The type checker that jaxtyping's import hook applies to every function of xdistill in tests."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from beartype import BeartypeConf, beartype

INT_IS_FLOAT = BeartypeConf(is_pep484_tower=True)


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and result against the annotated shapes once the function has returned.

    jaxtyping asks for two checks: of the arguments before the call (the result is then Any), and
    of arguments and result after it. The first is left out, so that a function which refuses bad
    input does so with its own error. Under torch.compile nothing is checked: Dynamo cannot trace
    an isinstance against a shape.
    """
    if function.__annotations__.get("return") is Any:
        return function
    checked = beartype(function, conf=INT_IS_FLOAT)

    @functools.wraps(function)
    def unless_compiling(*args: Any, **kwargs: Any) -> Any:
        run = function if torch.compiler.is_compiling() else checked
        return run(*args, **kwargs)

    return unless_compiling
