"""Ways to start a model: what the `inits` of a comparison may be, and what each does to a model."""

from __future__ import annotations

import functools
import inspect
import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fanin.errors import ArgumentError
from fanin.model.owners import owners
from fanin.model.parameters import slots_of
from fanin.recipes.table import recipe
from fanin.streams.keys import key

if TYPE_CHECKING:
    from fanin.initializers.base import Initializer

__all__ = ["Init", "assert_start", "draw_weights_", "start_"]

# None keeps what the constructor drew; a string names a recipe; a law is drawn for every weight; a callable of
# (model, seed) does what it likes and may return the number of updates it has already spent.
Init = Any
_DRAWN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def draw_weights_(model: nn.Module, law: Initializer, *, seed: int = 0) -> None:
    """Draw the weight of every linear and convolutional layer from one law and set its bias to zero; norms stay.

    Args:
        model: changed in place.
        law: any initializer.
        seed: of the streams; each weight's key is its qualified name.
    """
    for name, found in owners(model, slots_of(model)).items():
        if not isinstance(found.module, _DRAWN):
            continue
        tensor = getattr(found.module, found.attribute)
        if found.role == "weight" and found.layout is not None:
            law.fill_(tensor, key=key(seed, name), layout=found.layout)
        elif found.role == "bias":
            with torch.no_grad():
                tensor.zero_()


def start_(model: nn.Module, init: Init, *, seed: int, inputs: Any) -> int:
    """Give the model its first weights; returns the number of updates that this has spent (0 but for pre-training).

    Args:
        model: changed in place.
        init: None, a recipe's name, a `Plan`, an initializer, or a callable of (model, seed).
        seed: of the streams.
        inputs: an example batch, for recipes.
    """
    if init is None:
        return 0
    if isinstance(init, str):
        import fanin

        fanin.init_(model, inputs, recipe=init, seed=seed)
        return 0
    if hasattr(init, "apply_"):
        init.apply_(model)
        return 0
    if hasattr(init, "fill_"):
        draw_weights_(model, init, seed=seed)
        return 0
    return int(init(model, seed) or 0)


def assert_start(name: str, init: Init) -> None:
    """Check, before any work, that an init is one of the forms that `start_` takes.

    Args:
        name: of the init, for the error.
        init: what was given under that name.

    Raises:
        ArgumentError: it is of another form; the message says which there are.
        UnknownNameError: no recipe has its name.
    """
    if isinstance(init, str):
        recipe(init)
    elif wrong := _wrong(init):
        raise ArgumentError(f"the init {name!r} is {wrong}. {_ALLOWED}")


_ALLOWED = (
    "An init is None (as constructed), a recipe's name ('auto'), a Plan, an initializer "
    "(fanin.initializers.get('he_normal')), a Transfer or a function of (model, seed) that changes the model"
)


def _wrong(init: Any) -> str:
    """What is wrong with an init that is no string; "" where nothing is."""
    if isinstance(init, type):
        return f"the class {init.__name__}; make an instance of it: {init.__name__}()"
    if init is None or any(hasattr(init, verb) for verb in ("apply_", "fill_", "grouped")):
        return ""
    if not callable(init):
        return f"{reprlib.repr(init)} of type {type(init).__name__}"
    inner = init.func if isinstance(init, functools.partial) else init
    if getattr(inner, "__module__", "") == nn.init.__name__:
        return (
            f"torch.nn.init.{inner.__name__}, which fills one tensor and not a model; write a function of (model, "
            "seed) that calls it on each weight, or give the initializer of the same law"
        )
    return "" if _takes_two(init) else f"a function of {inspect.signature(init)}, which does not take (model, seed)"


def _takes_two(init: Any) -> bool:
    try:
        inspect.signature(init).bind(None, 0)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True
