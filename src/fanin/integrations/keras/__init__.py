"""Keras 3: laws as initializers, models planned and started by the paths of their variables, callbacks of `fit`.

`fanin.plan`, `fanin.check` and `fanin.init_` take a built Keras model on the torch and the JAX backend as it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanin.integrations.keras.callbacks import CheckCallback as CheckCallback
    from fanin.integrations.keras.callbacks import InitCallback as InitCallback
    from fanin.integrations.keras.callbacks import WatchCallback as WatchCallback
    from fanin.integrations.keras.laws import initializer as initializer
    from fanin.integrations.keras.write import init_ as init_

__all__ = ["CheckCallback", "InitCallback", "WatchCallback", "init_", "initializer"]

_HOME = {
    **dict.fromkeys(("CheckCallback", "InitCallback", "WatchCallback"), "fanin.integrations.keras.callbacks"),
    "init_": "fanin.integrations.keras.write",
    "initializer": "fanin.integrations.keras.laws",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fanin.integrations.keras' has no attribute {name!r}; it has {', '.join(_HOME)}")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        from fanin.errors import MissingDependencyError

        raise MissingDependencyError.instead_of(error, needed_for=f"fanin.integrations.keras.{name}") from error
