"""A loss of Keras as a function of torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fanin.errors import ArgumentError
from fanin.integrations.keras.holder import backend_name

__all__ = ["torch_loss"]


def torch_loss(model: Any, loss: Any, targets: Any) -> Any:
    """The loss as a callable of (output, targets); None: that of `compile`, if there are targets.

    Keras calls a loss with (targets, output). A loss that was given and is none of Keras stays as it is.

    Raises:
        ArgumentError: Keras knows no loss of that name, or one of Keras was given without targets.
    """
    import keras

    if loss is None:
        compiled = None if targets is None else _compiled(model)
        return None if compiled is None else _as_called(keras.losses.get(compiled))
    given = loss
    if isinstance(given, str):
        try:
            given = keras.losses.get(given)
        except ValueError as error:
            raise ArgumentError(
                f"Keras knows no loss {given!r}; give the name of one, or a loss of keras.losses"
            ) from error
    if not _is_of_keras(given):
        return given
    if targets is None:
        name = getattr(given, "__name__", type(given).__name__)
        raise ArgumentError(
            f"the loss {name} of Keras compares the output with targets, and targets is missing; give targets=..., or "
            "no loss"
        )
    return _as_called(given)


def _as_called(loss: Callable[..., Any]) -> Any:
    return _swapped(loss) if backend_name() == "torch" else _Traced(loss)


def _compiled(model: Any) -> Any:
    """The loss of `compile`, where it is one loss."""
    found = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    return found if isinstance(found, str) or callable(found) else None


def _is_of_keras(loss: Any) -> bool:
    import keras

    return isinstance(loss, keras.losses.Loss) or str(getattr(loss, "__module__", "")).partition(".")[0] == "keras"


def _swapped(loss: Callable[..., Any]) -> Callable[..., Any]:
    def by_torch(output: Any, targets: Any) -> Any:
        return loss(targets, output).mean()

    by_torch.__name__ = _name(loss)
    return by_torch


def _name(loss: Any) -> str:
    return str(getattr(loss, "__name__", "") or type(loss).__name__)


class _Traced:
    """A loss that JAX computes, as its torch twin for the shapes at hand."""

    def __init__(self, loss: Callable[..., Any]) -> None:
        self.loss = loss
        self.__name__ = _name(loss)

    def __call__(self, output: torch.Tensor, targets: torch.Tensor) -> Any:
        import jax

        from fanin.integrations.jax.twin import model as twin_of

        shape_of: Any = jax.ShapeDtypeStruct
        shapes = [shape_of(tuple(t.shape), str(t.dtype).rpartition(".")[2]) for t in (output, targets)]
        return twin_of(lambda _, o, t: self.loss(t, o).mean(), {}, *shapes)(output, targets)
