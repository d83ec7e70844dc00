"""Ways to start a model: what the `inits` of a comparison may be, and what each does to a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fanin.errors import ArgumentError
from fanin.model.owners import owners
from fanin.model.parameters import slots_of
from fanin.streams.keys import key

if TYPE_CHECKING:
    from fanin.initializers.base import Initializer

__all__ = ["Init", "draw_weights_", "start_"]

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
    if callable(init):
        return int(_call(init, model, seed) or 0)
    raise ArgumentError(
        f"an init is None, a recipe's name, a Plan, an initializer or a callable of (model, seed); got {init!r}"
    )


def _call(init: Callable[[nn.Module, int], int | None], model: nn.Module, seed: int) -> int | None:
    return init(model, seed)
