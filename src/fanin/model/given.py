"""What was given in place of a model, and what to give instead."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fanin.errors import ArgumentError, MissingDependencyError
from fanin.model.jax_models import as_function, kind_of
from fanin.text.names import clean

__all__ = ["assert_loss", "assert_made", "assert_module", "assert_numbers"]


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


def assert_loss(loss: Any) -> None:
    """Check that a loss is None or can be called as one.

    Raises:
        ArgumentError: it is a class, a name or a value; the message says what to give instead.

    Example:
        >>> assert_loss("cross_entropy")
        Traceback (most recent call last):
        fanin.errors.ArgumentError: loss is the string 'cross_entropy'; give the function: loss=torch.nn.functional...
    """
    if isinstance(loss, type):
        raise ArgumentError(f"loss is the class {loss.__name__}; make an instance of it: loss={loss.__name__}()")
    if isinstance(loss, str):
        raise ArgumentError(f"loss is the string {loss!r}; give the function: loss=torch.nn.functional.{loss}")
    if loss is not None and not callable(loss):
        raise ArgumentError(
            f"loss is of type {type(loss).__name__}; give a function of (output, targets), not a value that it gave"
        )


def assert_numbers(given: Any, name: str) -> None:
    """Check that no tensor is on the meta device, which holds shapes and no numbers.

    Raises:
        ArgumentError: one is.
    """
    from fanin.model.trees import tensors_in

    if any(t.device.type == "meta" for t in tensors_in(given)):
        raise ArgumentError(
            f"{name} is on the meta device and has no numbers to measure; make it on the device of the model"
        )


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
