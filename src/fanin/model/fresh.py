"""Whether a function that builds models builds a new one each time."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError
from fanin.text.names import clean

if TYPE_CHECKING:
    import torch

__all__ = ["FreshModels", "assert_callable_with", "assert_differ", "assert_fresh"]


class FreshModels:
    """Models that were built so far; one that shares a parameter with an earlier one is refused.

    Models are held by weak references: the memory of one that nobody else uses is free again.

    Args:
        build: what the caller named the function, for the error.

    Example:
        >>> import torch
        >>> model, fresh = torch.nn.Linear(2, 2), FreshModels("build")
        >>> fresh.add(model)
        >>> fresh.add(torch.nn.Linear(2, 2))
        >>> fresh.add(torch.nn.Sequential(model))
        Traceback (most recent call last):
        fanin.errors.ArgumentError: build returned a model that shares parameters with an earlier one ('0.weight' ...
    """

    def __init__(self, build: str) -> None:
        self._build = build
        self._seen: dict[int, weakref.ref[Any]] = {}

    def add(self, model: torch.nn.Module) -> None:
        """Remember a model.

        Raises:
            ArgumentError: it was built before, or a parameter of it was.
        """
        if self._has(model):
            raise ArgumentError(f"{self._build} returned the same model twice; {_CURE}")
        shared = [name for name, p in model.named_parameters(remove_duplicate=False) if self._has(p)]
        if shared:
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise ArgumentError(
                f"{self._build} returned a model that shares parameters with an earlier one ('{shared[0]}'{more}); "
                f"{_CURE}"
            )
        self._seen |= {id(thing): weakref.ref(thing) for thing in (model, *model.parameters())}

    def _has(self, thing: Any) -> bool:
        known = self._seen.get(id(thing))
        return known is not None and known() is thing


_CURE = (
    "each run needs its own. Make the model inside the function, as in lambda: MyModel(...), or return a copy, as in "
    "lambda: copy.deepcopy(model)"
)


def assert_callable_with(build: str, function: Callable[..., Any], count: int) -> None:
    """Check that a function which builds models takes as many arguments as it is given.

    Args:
        build: what the caller named it, for the error.
        function: it.
        count: 0, or 1 where it gets a width.

    Raises:
        ArgumentError: it takes more or fewer; also of a module, which is a model and builds none.

    Example:
        >>> import torch
        >>> assert_callable_with("model", torch.nn.Linear, 0)
        Traceback (most recent call last):
        fanin.errors.ArgumentError: model is called without arguments, and Linear does not take that; write...
    """
    import torch

    how, example = _CALLS[count]
    if isinstance(function, torch.nn.Module):
        raise ArgumentError(f"{build} is a model of type {type(function).__name__}; {example}")
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        name = clean(getattr(function, "__name__", type(function).__name__))
        raise ArgumentError(f"{build} is called {how}, and {name} does not take that; {example}") from None
    except ValueError:  # a function of C, whose signature is not known
        return


_CALLS = {
    0: ("without arguments", "write a function of none that builds a model: lambda: MyModel(...)"),
    1: ("with a width", "write a function of the width that builds a model: lambda width: MyModel(width)"),
}


def assert_differ(build: Callable[[int], Any], sizes: Sequence[int], unit: str) -> None:
    """Check that the smallest and the largest model are not the same, before anything is trained.

    Args:
        build: makes the model of a size.
        sizes: from the smallest to the largest.
        unit: what the sizes are, "width" or "depth".

    Raises:
        ArgumentError: they share a parameter, or have the same parameters with the same shapes.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        made = [build(size) for size in (sizes[0], sizes[-1])]
    if not all(isinstance(one, torch.nn.Module) for one in made):  # refused where they are used
        return
    fresh = FreshModels("build")
    for one in made:
        fresh.add(one)
    first, last = ({name: tuple(p.shape) for name, p in one.named_parameters()} for one in made)
    if first == last:
        raise ArgumentError(
            f"build gives the same shapes at {unit} {sizes[0]} and at {sizes[-1]}, so there is nothing to compare; use "
            f"its argument, as in lambda {unit}: MyModel({unit})"
        )


def assert_fresh(makers: list[Callable[[], Any]], build: str, *, seed: int = 0) -> None:
    """Call each function twice, under a seed, before anything is trained; the random state is put back.

    Args:
        makers: functions that each build a model.
        build: what the caller named them, for the error.
        seed: of the random numbers that the models draw.

    Raises:
        ArgumentError: two of the models share a parameter.
    """
    import torch

    fresh = FreshModels(build)
    for make in (m for m in makers for _ in range(2)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = make()
        if isinstance(made, torch.nn.Module):  # others are refused where they are used
            fresh.add(made)
