"""What a model is called with: the caller's inputs brought into (args, kwargs), by the signature of its forward."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from fanin.model.trees import named_tensors
from fanin.model.wrappers import unwrapped

__all__ = ["Call", "call", "call_arguments", "forward_parameters", "input_names"]

Call = tuple[tuple[Any, ...], dict[str, Any]]


def call_arguments(model: Any, inputs: Any) -> Call:
    """Positional and keyword arguments of a forward call.

    A plain tuple is positional arguments. A mapping is keyword arguments, unless forward has no arguments of these
    names: then it is the one argument. A list is the one argument, unless forward cannot be called with one argument
    but can with as many as the list holds. Everything else (a tensor, a named tuple, a dataclass) is the one argument.

    Args:
        model: the module to be called.
        inputs: what the caller gave.

    Example:
        >>> import torch
        >>> call_arguments(torch.nn.Linear(2, 2), {"input": 1}), call_arguments(torch.nn.Linear(2, 2), {"x": 1})
        (((), {'input': 1}), (({'x': 1},), {}))
    """
    if type(inputs) is tuple:
        return inputs, {}
    if isinstance(inputs, Mapping):
        return ((), {str(k): v for k, v in inputs.items()}) if _are_keywords(model, inputs) else ((inputs,), {})
    if isinstance(inputs, list) and not binds(model, 1) and binds(model, len(inputs)):
        return tuple(inputs), {}
    return (inputs,), {}


def call(model: Any, inputs: Any) -> Any:
    """What the model returns for these inputs."""
    args, kwargs = call_arguments(model, inputs)
    return model(*args, **kwargs)


def input_names(inputs: Any) -> list[tuple[str, Any]]:
    """The tensors of the caller's inputs with the names that a reader knows them by.

    Example:
        >>> import torch
        >>> [name for name, _ in input_names((torch.ones(1), torch.ones(1)))], input_names({"ids": torch.ones(1)})[0][0]
        (['inputs[0]', 'inputs[1]'], 'ids')
    """
    found = named_tensors(inputs)
    if type(inputs) in (tuple, list):
        return [(f"inputs[{i}]", tensor) for i, (_, tensor) in enumerate(found)]
    return [(path or "inputs[0]", tensor) for path, tensor in found]


# ---------------------------------------------------------------------- what forward takes
def _are_keywords(model: Any, inputs: Mapping[Any, Any]) -> bool:
    if not all(isinstance(k, str) for k in inputs):
        return False
    known = forward_parameters(model)
    if known is None:
        return True
    names = {p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if set(inputs) <= names:
        return True
    takes_more = any(p.kind is p.VAR_KEYWORD for p in known)
    return takes_more and (bool(names & set(inputs)) or not _needs_positional(known))


def _needs_positional(known: Iterable[inspect.Parameter]) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is p.empty for p in known)


def binds(model: Any, count: int) -> bool:
    """Whether forward can be called with so many positional arguments; False where that is not known."""
    known = forward_parameters(model)
    if known is None:
        return False
    try:
        inspect.Signature(known).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def forward_parameters(model: Any) -> list[inspect.Parameter] | None:
    """The parameters of forward without self; None where it has no signature that can be read."""
    forward = getattr(unwrapped(model), "forward", None)
    schema = getattr(forward, "schema", None)
    try:
        if schema is not None:  # a scripted forward hides its arguments from inspect
            return [_scripted(argument) for argument in schema.arguments if argument.name != "self"]
        return list(inspect.signature(forward).parameters.values()) if callable(forward) else None
    except (TypeError, ValueError):
        return None


def _scripted(argument: Any) -> inspect.Parameter:
    default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
    return inspect.Parameter(argument.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
