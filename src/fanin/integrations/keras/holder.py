"""A Keras model as a torch module whose parameters are called by `variable.path`, on the torch and the JAX backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from fanin.errors import ArgumentError, PlanError
from fanin.integrations.keras.names import stream_names
from fanin.integrations.part import Part

__all__ = [
    "RUNS",
    "KerasModule",
    "as_tensor",
    "backend_name",
    "modes",
    "named",
    "training_of",
    "unbuilt",
    "variables_of",
]

# Backend -> the attribute of a layer that runs it, inside what the backend itself does around a call.
RUNS: Mapping[str, str] = {"torch": "_call_impl", "jax": "call"}
_BUILDS = "_maybe_build"  # the method of a layer that builds it at its first call


def backend_name() -> str:
    """The backend that Keras was imported with."""
    import keras  # what it is imported with cannot be changed later, and its default may be absent

    return str(keras.config.backend())


class _Held:
    """A Keras model that a copy of its view shares."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __deepcopy__(self, memo: Any) -> _Held:
        return self


class KerasModule(torch.nn.Module):
    """The parameters of a Keras model under their paths; on the torch backend they are the model's own tensors.

    Variables that are trained are parameters, those of frozen layers parameters that need no gradient, and the rest
    (moving statistics, states of random generators) buffers. On the torch backend it runs the model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._held = _Held(model)
        weights, states = variables_of(model)
        for variable in weights:
            self._parameters[variable.path] = _parameter(variable)
        for variable in states:
            self._buffers[variable.path] = _tensor(variable).detach()
        self._modules.update(_parts(model))
        self.stream_names = stream_names(model, list(self._parameters))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives; no variable of it changes."""
        model = self._held.model
        if backend_name() != "torch":
            raise ArgumentError(f"{type(model).__name__} is run through inputs: fanin.plan(model, inputs)")
        values = {**self._parameters, **self._buffers}
        trained = [values[v.path] for v in model.trainable_variables]
        others = [values[v.path] for v in model.non_trainable_variables]
        with modes(model, self._modules):
            return model.stateless_call(trained, others, *args, **training_of(model, self.training), **kwargs)[0]


def variables_of(model: Any) -> tuple[list[Any], list[Any]]:
    """The weights of a model, frozen ones included, and its other variables.

    Raises:
        PlanError: two variables have the same path.
    """
    layers = [model, *model._flatten_layers(include_self=False)]
    weights = {id(v) for layer in layers for v in getattr(layer, "_trainable_variables", ())}
    weights |= {id(v) for v in model.trainable_variables}
    paths = [v.path for v in model.variables]
    twice = next((p for p in paths if paths.count(p) > 1), None)
    if twice is not None:
        raise PlanError(f"two variables of the model are called {twice!r}; give its layers different names (name=...)")
    return [v for v in model.variables if id(v) in weights], [v for v in model.variables if id(v) not in weights]


def unbuilt(layer: Any) -> ArgumentError:
    """The error for a layer that has no weights yet."""
    return ArgumentError(f"{layer.name!r} is not built, so it has no weights yet; call the model on some inputs first")


def named(kind: type, model: Any) -> Any:
    """The class with the name of the model's."""
    return type(type(model).__name__, (kind,), {"__doc__": kind.__doc__})


def _parts(model: Any) -> dict[str, torch.nn.Module]:
    """A place for each layer, under its path, with the name of its class."""
    return {path: _part(layer) for layer in model._flatten_layers(include_self=False) if (path := _path(layer))}


def _path(layer: Any) -> str:
    path: str = layer.path or layer.name
    return path


def _part(layer: Any) -> torch.nn.Module:
    made: torch.nn.Module = type(
        type(layer).__name__, (Part,), {"takes_batch_statistics": takes_batch_statistics(layer)}
    )()
    return made


def takes_batch_statistics(layer: Any) -> bool:
    """Whether a layer is a batch norm."""
    import keras

    return isinstance(layer, keras.layers.BatchNormalization)


# ---------------------------------------------------------------------- running
@contextlib.contextmanager
def modes(model: Any, parts: Mapping[str, torch.nn.Module | None]) -> Iterator[None]:
    """Each layer runs inside its part, in the mode of that part; afterwards the layers are as they were."""
    attribute = RUNS[backend_name()]
    every = model._flatten_layers(include_self=False)
    layers = [layer for layer in every if attribute not in vars(layer)]
    waiting = [layer for layer in every if not layer.built]
    try:
        for layer in waiting:  # it would make weights of its own now
            vars(layer)[_BUILDS] = _refusal(layer)
        for layer in layers:
            part = parts.get(_path(layer))
            if part is not None:
                vars(layer)[attribute] = _inside(part, layer, getattr(layer, attribute))
        yield
    finally:
        for layer in layers:
            vars(layer).pop(attribute, None)
        for layer in waiting:
            vars(layer).pop(_BUILDS, None)


def _refusal(layer: Any) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise unbuilt(layer)

    return refuse


def _inside(part: torch.nn.Module, layer: Any, run: Any) -> Any:
    inner = layer.forward if backend_name() == "torch" else run

    def call(*args: Any, **kwargs: Any) -> Any:
        return part(inner, *args, **{**kwargs, **training_of(layer, part.training)})

    return call


def training_of(layer: Any, training: bool) -> dict[str, bool]:
    """The mode as a layer takes it; nothing for a layer that does not ask."""
    return {"training": training} if layer._call_has_training_arg else {}


# ---------------------------------------------------------------------- tensors
def _parameter(variable: Any) -> torch.nn.Parameter:
    tensor = _tensor(variable)
    if isinstance(tensor, torch.nn.Parameter):
        return tensor
    floats = tensor.is_floating_point() or tensor.is_complex()
    return torch.nn.Parameter(tensor.detach(), requires_grad=bool(variable.trainable) and floats)


def _tensor(variable: Any) -> torch.Tensor:
    """The tensor of a variable: its own on the torch backend, a copy elsewhere."""
    value = variable.value
    return value if isinstance(value, torch.Tensor) else as_tensor(value)


def as_tensor(value: Any) -> Any:
    """A torch tensor with the numbers of an array; what is no array stays."""
    if isinstance(value, torch.Tensor) or not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return value
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, copy=True))
