"""What was given in place of a model, and what to give instead."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fanin.errors import ArgumentError, MissingDependencyError
from fanin.model.jax_models import as_function, kind_of
from fanin.text.names import clean

__all__ = ["assert_made", "assert_module"]


def assert_module(model: Any) -> None:
    """Check that a model is a ``torch.nn.Module``.

    Raises:
        ArgumentError: it is none; the message says what it is, and what to give instead.
        MissingDependencyError: torch is not installed.

    Example:
        >>> import torch
        >>> assert_module(torch.nn.Linear)
        Traceback (most recent call last):
        fanin.errors.ArgumentError: model is the class Linear; make an instance of it: model = Linear(...)
    """
    MissingDependencyError.unless_installed("torch", extra="torch", needed_for="a model of torch")
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ArgumentError(f"model is {_what(model)}")


def assert_made(factory: Callable[..., Any]) -> None:
    """Check that a factory of models can be called without arguments.

    Raises:
        ArgumentError: it is a class or a function that needs arguments, or a model of a JAX library.

    Example:
        >>> import torch
        >>> assert_made(torch.nn.Linear)
        Traceback (most recent call last):
        fanin.errors.ArgumentError: model is the class Linear, which needs arguments; make one: model = Linear(...)
    """
    if kind_of(factory):
        raise ArgumentError(f"model is {_of_jax(factory)}")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        name = clean(getattr(factory, "__name__", type(factory).__name__))
        raise ArgumentError(
            f"model is the class {name}, which needs arguments; make one: model = {name}(...)"
            if isinstance(factory, type)
            else f"model is the function {name}, which needs arguments ({error}); call it: model = {name}(...)"
        ) from error
    except ValueError:  # a builtin without a signature: only a call can tell
        return


def _what(model: Any) -> str:
    import torch

    if kind_of(model):
        return _of_jax(model)
    if isinstance(model, type):
        name = clean(model.__name__)
        return f"the class {name}; make an instance of it: model = {name}(...)"
    if inspect.isroutine(model):
        name = clean(getattr(model, "__name__", "it"))
        return f"the function {name}; call it for the model: model = {name}(...)"
    if isinstance(model, Mapping):
        return (
            f"a mapping ({type(model).__name__}), as state_dict() gives; build the model and load it: "
            "model.load_state_dict(weights), then give the model"
        )
    if isinstance(model, str | os.PathLike):
        return f"the path or name {clean(model)!r}; build the model in Python, load its weights, then give the model"
    if isinstance(model, torch.optim.Optimizer):
        return f"the optimizer {type(model).__name__}; give the model whose parameters it moves"
    if isinstance(model, Iterator | list | tuple | torch.Tensor):
        return f"of type {type(model).__name__}; give the torch.nn.Module that holds the parameters"
    return (
        f"of type {type(model).__name__}; a torch.nn.Module is needed. Wrap a function in a Module, or give the module "
        "it uses"
    )


def _of_jax(model: Any) -> str:
    return f"the {kind_of(model)}, which is given as a function and its parameters. {as_function(model)}"
