"""What the integrations share: a base class from a library that may be absent, and the step of a Lightning module."""

from __future__ import annotations

import copy
import importlib
from dataclasses import dataclass
from typing import Any

from fanin.errors import ArgumentError, MissingDependencyError

__all__ = ["as_model", "base_of", "loss_of", "refuse_trained"]


@dataclass(frozen=True)
class StepOutput:
    """What a training_step gives, as a model gives its loss."""

    loss: Any


def base_of(library: str, name: str, extra: str) -> Any:
    """A class of a library; where the library cannot be imported, a class that says why when it is used.

    Args:
        library: module to import.
        name: of the class in it.
        extra: of fanin that installs the library.

    Example:
        >>> base_of("no_such_library", "Callback", "lightning")()
        Traceback (most recent call last):
        ...
        fanin.errors.MissingDependencyError: fanin.integrations needs no_such_library, ... No module named ...
    """
    try:
        return getattr(importlib.import_module(library), name)
    except (ImportError, RuntimeError) as error:  # transformers turns errors of its own imports into RuntimeError
        return _missing(library, extra, error)


def _missing(library: str, extra: str, reason: Exception) -> type:
    def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
        error = MissingDependencyError.of(library, extra=extra, needed_for="fanin.integrations")
        raise MissingDependencyError(f"{error} The import ended with: {reason}") from reason

    return type("Missing", (), {"__new__": refuse})


def as_model(module: Any) -> Any:
    """A Lightning module whose forward is its training_step, over the same parameters; it logs nothing.

    Raises:
        ArgumentError: the module uses manual optimization.
    """
    if not module.automatic_optimization:
        raise ArgumentError(
            f"{type(module).__name__} uses manual optimization (automatic_optimization = False): its training_step "
            "moves the weights, so it cannot be run to measure. Use fanin.watch(model, optimizer) inside it."
        )

    def nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def forward(self: Any, *args: Any) -> Any:
        return StepOutput(loss_of(self.training_step(*args)))

    view = copy.copy(module)
    kind = type(module)
    view.__class__ = type(kind.__name__, (kind,), {"forward": forward, "log": nothing, "log_dict": nothing})
    return view


def loss_of(output: Any) -> Any:
    """The loss in what a training_step gives: itself, or the entry "loss"."""
    return output["loss"] if isinstance(output, dict) else output


def refuse_trained(model: Any, force: bool) -> None:
    """Refuse a model that was loaded from trained weights.

    Raises:
        ArgumentError: its configuration names what it was loaded from, and `force` is False.
    """
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    if name and not force:
        raise ArgumentError(
            f"{type(model).__name__} was loaded from '{name}', and a new start would replace its trained weights. Make "
            "the model from its configuration, or pass force=True."
        )
