"""Names of the streams of a Keras model: the paths of its variables, the same however often the model is built.

Keras numbers layers without a name through the whole process (``dense``, ``dense_1``, ...), so the first layer of a
second model is ``dense_7``. The name of its stream counts within the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["counted_names", "stream_names"]


def stream_names(model: Any, paths: Iterable[str]) -> dict[str, str]:
    """Paths of variables -> names of their streams, for those that differ.

    Args:
        model: the Keras model.
        paths: of its variables.
    """
    from keras.src.utils.naming import to_snake_case

    layers = [model, *model._flatten_layers(include_self=False)]
    counted = counted_names([(layer.name, to_snake_case(type(layer).__name__)) for layer in layers])
    renamed = {path: "/".join(counted.get(step, step) for step in path.split("/")) for path in paths}
    return {path: name for path, name in renamed.items() if name != path}


def counted_names(layers: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Names as Keras gives them to layers without one -> the names that they have in a new process.

    Args:
        layers: name of each layer, and the name of its class in snake case.

    Example:
        >>> counted_names([("dense_7", "dense"), ("dense_9", "dense"), ("head", "dense")])
        {'dense_7': 'dense', 'dense_9': 'dense_1'}
    """
    numbers: dict[str, dict[int, str]] = {}
    for name, kind in layers:
        number = _number(name, kind)
        if number is not None:
            numbers.setdefault(kind, {})[number] = name
    fixed = {name for name, kind in layers if _number(name, kind) is None}
    found = {
        own[number]: kind if n == 0 else f"{kind}_{n}"
        for kind, own in numbers.items()
        for n, number in enumerate(sorted(own))
    }
    return {name: new for name, new in found.items() if new not in fixed}


def _number(name: str, kind: str) -> int | None:
    """The number in a name that Keras made from a class; None for a name of the user's."""
    if name == kind:
        return 0
    rest = name.removeprefix(f"{kind}_")
    return int(rest) if rest != name and rest.isdecimal() and rest == str(int(rest)) else None
