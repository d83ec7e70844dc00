"""Models of other libraries: the torch module through which fanin reads, runs and writes one.

Each library has a module in `fanin.integrations` with a function ``view(model, inputs)``; it is loaded when a model of
that library is met.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fanin.errors import ArgumentError

if TYPE_CHECKING:
    import torch

__all__ = [
    "Viewed",
    "as_module",
    "as_trainable",
    "give_back",
    "given_or_made_up",
    "is_foreign",
    "is_view",
    "loss_of",
    "parameter_names",
    "stream_names",
    "targets_of",
]

# Package and name of the class that all models of a library are made of -> the module that views them.
_VIEWS: Mapping[tuple[str, str], str] = {("keras", "Layer"): "fanin.integrations.keras.view"}


class Viewed(NamedTuple):
    """A module for a model, and the inputs as that module takes them."""

    module: torch.nn.Module
    inputs: Any


def is_foreign(model: Any) -> bool:
    """Whether a model is of another library than torch, or of one that builds on torch and names weights itself.

    Example:
        >>> import torch
        >>> is_foreign(torch.nn.Linear(2, 2))
        False
    """
    return bool(_view_of(model))


def as_module(model: Any, inputs: Any = None) -> Viewed:
    """The torch module for a model, and its inputs as torch tensors; a torch module is itself.

    Args:
        model: a torch module, or a model of a library that fanin has an integration for.
        inputs: what the model is called with, in that library's arrays; None where it is not run.

    Raises:
        ArgumentError: the model cannot be read; the message says what to do.

    Example:
        >>> import torch
        >>> model, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
        >>> as_module(model, x) == (model, x)
        True
    """
    home = _view_of(model)
    if not home:
        return Viewed(model, inputs)
    module, given = importlib.import_module(home).view(model, inputs)
    return Viewed(module, given)


def as_trainable(model: Any, verb: str) -> torch.nn.Module:
    """The model, where torch trains it: a torch module, or one of a library that builds on torch.

    Args:
        model: a torch module, or a model of another library.
        verb: who asks, for the error.

    Raises:
        ArgumentError: the model belongs to a library that trains it in its own way.
    """
    import torch

    home = _view_of(model)
    if home and not isinstance(model, torch.nn.Module):
        raise ArgumentError(importlib.import_module(home).why_not_trained(verb))
    trained: torch.nn.Module = model
    return trained


def given_or_made_up(model: Any, inputs: Any) -> Any:
    """The inputs; where there are none, made up by the library of the model from what the model says that it takes.

    Raises:
        ArgumentError: the model of another library does not say what it takes.
    """
    home = _view_of(model)
    return inputs if inputs is not None or not home else importlib.import_module(home).made_up_inputs(model)


def loss_of(model: Any, loss: Any, targets: Any) -> Any:
    """The loss of a model of another library as a function of torch tensors (output, targets); others as they are.

    Raises:
        ArgumentError: the library knows no loss of that name, or its loss needs targets and there are none.
    """
    home = _view_of(model)
    return importlib.import_module(home).torch_loss(model, loss, targets) if home else loss


def parameter_names(model: Any) -> Mapping[int, str]:
    """Names of the parameters of a model of another library that torch trains, by id; none for a torch model."""
    if not _view_of(model):
        return {}
    return {id(p): name for name, p in as_module(model).module.named_parameters(remove_duplicate=False)}


def is_view(module: Any) -> bool:
    """Whether a module was made by `as_module` for a model of another library."""
    return "stream_names" in getattr(module, "__dict__", {})


def _view_of(model: Any) -> str:
    for kind in type(model).__mro__:
        home = _VIEWS.get((kind.__module__.partition(".")[0], kind.__qualname__))
        if home is not None:
            return home
    return ""


def targets_of(model: Any, targets: Any) -> Any:
    """The targets for a model of another library as a torch tensor; those of a torch model are passed on."""
    if targets is None or not is_foreign(model):
        return targets
    import numpy as np
    import torch

    made = targets if isinstance(targets, torch.Tensor) else torch.from_numpy(np.array(targets, copy=True))
    return made if made.is_floating_point() or made.is_complex() else made.long()


def stream_names(module: Any) -> Mapping[str, str]:
    """Names of streams of parameters that have another one than their own name."""
    names: Mapping[str, str] = getattr(module, "__dict__", {}).get("stream_names", {})
    return names


def give_back(module: Any) -> None:
    """Write the numbers of a module into the model that it was made for, where that holds copies of its own."""
    write: Callable[[], None] | None = vars(module).get("give_back")
    if write is not None:
        write()
