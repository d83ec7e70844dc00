"""Follow a Keras model as a torch module, on the torch and the JAX backend."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from fanin.errors import ArgumentError
from fanin.integrations.keras.given import made_up_inputs
from fanin.integrations.keras.holder import RUNS, KerasModule, as_tensor, backend_name, named, unbuilt
from fanin.integrations.keras.losses import torch_loss
from fanin.model.calling import call_arguments

__all__ = ["made_up_inputs", "torch_loss", "view", "why_not_trained"]


def view(model: Any, inputs: Any = None) -> tuple[torch.nn.Module, Any]:
    """The torch module for a Keras model, and its inputs as torch tensors.

    Raises:
        ArgumentError: the model is not built, or runs on the TensorFlow backend.
        PlanError: two variables have the same path.
    """
    backend = backend_name()
    if backend not in RUNS:
        raise ArgumentError(
            f"Keras runs on the {backend} backend, which fanin does not follow; set KERAS_BACKEND=torch or "
            "KERAS_BACKEND=jax before Keras is imported. fanin.integrations.keras.initializer works on every backend."
        )
    _assert_built(model)
    given = None if inputs is None else _arguments(model, inputs)
    if backend == "torch":
        return named(KerasModule, model)(model), _as_inputs(given)
    from fanin.integrations.keras.on_jax import view_on_jax

    return view_on_jax(model, given)


def why_not_trained(verb: str) -> str:
    """What to do where torch does not train a model of Keras."""
    instead = {
        "watch": "give model.fit callbacks=[fanin.integrations.keras.WatchCallback()]",
        "param_groups": "set KERAS_BACKEND=torch before Keras is imported, and train with an optimizer of torch",
    }
    other = "set KERAS_BACKEND=torch before Keras is imported"
    return f"fanin.{verb} follows training in torch, and Keras runs on the {backend_name()} backend; " + instead.get(
        verb, other
    )


def _assert_built(model: Any) -> None:
    if not model.built or not model.variables:
        raise unbuilt(model)


def _arguments(model: Any, inputs: Any) -> tuple[Any, ...]:
    """The inputs in the order in which the model's `call` takes them.

    Raises:
        ArgumentError: `call` takes one of them by keyword alone.
    """
    args, kwargs = call_arguments(_Called(model.call), inputs)
    bound = inspect.signature(model.call).bind(*args, **kwargs)
    if bound.kwargs:
        raise ArgumentError(
            f"{type(model).__name__}.call takes {', '.join(bound.kwargs)} by keyword alone; fanin gives inputs by "
            "position"
        )
    return bound.args


class _Called:
    """What `call_arguments` asks for its signature."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward


def _as_inputs(given: Sequence[Any] | None) -> Any:
    import keras

    return None if given is None else tuple(keras.tree.map_structure(as_tensor, one) for one in given)
