"""What the hooks of a watch become in a copy of the model: a hook that takes itself away."""

from __future__ import annotations

from typing import Any

__all__ = ["NoCopy", "gone"]

_TABLES = ("_forward_pre_hooks", "_forward_hooks")


def gone(module: Any, *_: Any) -> None:
    """Take this hook off the module that it is called for."""
    for table in _TABLES:
        hooks = getattr(module, table, {})
        for key in [key for key, hook in hooks.items() if hook is gone]:
            del hooks[key]


class NoCopy:
    """A hook that is not copied and not pickled with its module: `gone` takes its place there."""

    def __deepcopy__(self, memo: Any) -> Any:
        return gone

    def __reduce__(self) -> Any:
        return _gone, ()


def _gone() -> Any:
    return gone
