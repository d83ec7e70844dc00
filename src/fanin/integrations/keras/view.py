"""A Keras model as a torch module whose parameters are called by `variable.path`, on the torch and the JAX backend."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fanin.errors import ArgumentError, PlanError
from fanin.integrations.keras.names import stream_names
from fanin.integrations.part import Part
from fanin.model.calling import call_arguments

__all__ = ["KerasModule", "as_tensor", "modes", "named", "training_of", "variables_of", "view"]

# Backend -> the attribute of a layer that runs it, inside what the backend itself does around a call.
_RUNS: Mapping[str, str] = {"torch": "_call_impl", "jax": "call"}
_BUILDS = "_maybe_build"  # the method of a layer that builds it at its first call


def _backend() -> str:
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
        if _backend() != "torch":
            raise ArgumentError(f"{type(model).__name__} is run through inputs: fanin.plan(model, inputs)")
        values = {**self._parameters, **self._buffers}
        trained = [values[v.path] for v in model.trainable_variables]
        others = [values[v.path] for v in model.non_trainable_variables]
        with modes(model, self._modules):
            return model.stateless_call(trained, others, *args, **training_of(model, self.training), **kwargs)[0]


def view(model: Any, inputs: Any = None) -> tuple[torch.nn.Module, Any]:
    """The torch module for a Keras model, and its inputs as torch tensors.

    Raises:
        ArgumentError: the model is not built, or runs on the TensorFlow backend.
        PlanError: two variables have the same path.
    """
    backend = _backend()
    if backend not in _RUNS:
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


def _assert_built(model: Any) -> None:
    if not model.built or not model.variables:
        raise _unbuilt(model)


def _unbuilt(layer: Any) -> ArgumentError:
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
    attribute = _RUNS[_backend()]
    every = model._flatten_layers(include_self=False)
    layers = [layer for layer in every if attribute not in vars(layer)]
    unbuilt = [layer for layer in every if not layer.built]
    try:
        for layer in unbuilt:  # it would make weights of its own now
            vars(layer)[_BUILDS] = _refusal(layer)
        for layer in layers:
            part = parts.get(_path(layer))
            if part is not None:
                vars(layer)[attribute] = _inside(part, layer, getattr(layer, attribute))
        yield
    finally:
        for layer in layers:
            vars(layer).pop(attribute, None)
        for layer in unbuilt:
            vars(layer).pop(_BUILDS, None)


def _refusal(layer: Any) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise _unbuilt(layer)

    return refuse


def _inside(part: torch.nn.Module, layer: Any, run: Any) -> Any:
    inner = layer.forward if _backend() == "torch" else run

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
