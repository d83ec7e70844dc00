"""Weights that a forward pass reads and the model does not own: ``model.parameters()`` never gives them.

Layers in a plain list, parameters in a dict, and weights that only the code of the forward names. What counts is that
a gradient reaches them: a teacher under ``torch.no_grad`` and weights computed from parameters are none of them.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.text.names import clean

if TYPE_CHECKING:
    import torch

__all__ = ["Unregistered", "is_trainable", "leaves_behind", "unregistered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregistered:
    """Weights that one attribute, or one variable of the code, holds and the model does not own.

    Attributes:
        owner: qualified path of the module whose forward reads them ("" for the model itself).
        name: the attribute or variable that holds them; "" where none was found.
        held_in: "list", "dict" or "tensor" for an attribute, "code" for what only the code names, "nothing" else.
        what: the layers or tensors, counted: "3 Linear".
        tensors: how many tensors.
    """

    owner: str
    name: str
    held_in: str
    what: str
    tensors: int

    @property
    def path(self) -> str:
        """The attribute as a qualified name."""
        return f"{self.owner}.{self.name}" if self.owner and self.name else self.name or self.owner

    @property
    def words(self) -> str:
        """Where they are and what they are, for a sentence."""
        if self.held_in == "nothing":
            return self.what
        place = "variable" if self.held_in == "code" else "attribute"
        return f"{place} {clean(self.path)}, {self.what}"

    @property
    def cure(self) -> str:
        """What to write instead, in words."""
        return _CURES[self.held_in][self.what.endswith(_TENSOR)]


_TENSOR = "tensor"
# how they are held -> (the cure for layers, the cure for bare tensors)
_CURES = {
    "list": ("nn.ModuleList", "nn.ParameterList"),
    "dict": ("nn.ModuleDict", "nn.ParameterDict"),
    "tensor": ("an attribute of the module", "nn.Parameter"),
    "code": ("an attribute of the module", "nn.Parameter"),
    "nothing": ("an attribute of the module", "an nn.Parameter that is made once, in __init__"),
}


def is_trainable(tensor: torch.Tensor) -> bool:
    """Whether a tensor asks for a gradient and was computed from nothing."""
    return bool(tensor.requires_grad and tensor.is_leaf)


def leaves_behind(outputs: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that a gradient of the outputs ends in, each once, in no order that means anything."""
    todo = [t.grad_fn for t in outputs if t.grad_fn is not None]
    seen: set[Any] = set(todo)
    found: dict[int, torch.Tensor] = {}
    while todo:
        node: Any = todo.pop()
        leaf = getattr(node, "variable", None)  # of AccumulateGrad, where the gradient of a leaf arrives
        if leaf is not None:
            found[id(leaf)] = leaf
        new = [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(new)
        todo += new
    return list(found.values())


def unregistered(model: torch.nn.Module, leaves: Iterable[torch.Tensor]) -> tuple[Unregistered, ...]:
    """Those of the leaves that are no parameter of the model, by the attribute that holds them.

    A tensor that neither the model nor its code holds counts only where it is an ``nn.Parameter``: it is made anew in
    every forward, or another object owns it.

    Example:
        >>> import torch
        >>> class Lost(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layers = [torch.nn.Linear(4, 4) for _ in range(3)]
        >>> model = Lost()
        >>> [u.words for u in unregistered(model, [layer.weight for layer in model.layers])]
        ['attribute layers, 3 Linear']
    """
    import torch

    owned = {id(t) for t in (*model.parameters(), *model.buffers())}
    foreign = [t for t in leaves if id(t) not in owned]
    if not foreign:
        return ()
    groups: dict[tuple[str, str, str], list[tuple[Any, torch.Tensor]]] = {}
    for tensor, (place, holder) in _places(model, foreign):
        if place[2] != "nothing" or isinstance(tensor, torch.nn.Parameter):
            groups.setdefault(place, []).append((holder, tensor))
    return tuple(
        Unregistered(owner=owner, name=name, held_in=kind, what=_counted(held), tensors=len(held))
        for (owner, name, kind), held in sorted(groups.items(), key=lambda item: item[0])
    )


def _counted(held: Collection[tuple[Any, torch.Tensor]]) -> str:
    layers = {id(h): type(h).__name__ for h, _ in held if h is not None}
    names = list(layers.values()) + [_TENSOR for h, _ in held if h is None]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


_Place = tuple[str, str, str]


def _places(model: torch.nn.Module, tensors: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, tuple[_Place, Any]]]:
    """Each tensor with (owner, name, how it is held) and the layer that it belongs to, None for a bare tensor."""
    import torch

    from fanin.model.reachable import Reachable

    modules = {id(m): path for path, m in model.named_modules()}
    walk = Reachable([model])
    for at, tensor in sorted(
        ((walk.index_of(t), t) for t in tensors), key=lambda pair: -1 if pair[0] is None else pair[0]
    ):
        chain = [] if at is None else list(_upwards(walk.things, walk.holders, at, modules))
        layer = next((t for t in chain[:-1] if isinstance(t, torch.nn.Module)), None)
        yield tensor, (_place(chain, modules), layer)


def _upwards(things: list[Any], holders: list[int], at: int, modules: Collection[int]) -> Iterator[Any]:
    """A thing, what holds it, and so on up to a module of the model."""
    while at >= 0:
        yield things[at]
        if id(things[at]) in modules:
            return
        at = holders[at]


def _place(chain: list[Any], modules: dict[int, str]) -> _Place:
    """Where the first thing of a chain is held, as the module at its end sees it."""
    if not chain or id(chain[-1]) not in modules:
        return "", "", "nothing"
    owner = modules[id(chain[-1])]
    for below, above in itertools.pairwise(chain):
        if isinstance(above, types.FunctionType) and (name := _named_in(above, below)):
            return owner, name, "code"
    attributes = vars(chain[-1])
    name = next((k for k, v in attributes.items() if any(v is thing for thing in chain[:-1])), "")
    return (owner, name, _held_in(attributes[name])) if name else (owner, _in_class(chain), "code")


def _held_in(value: Any) -> str:
    return "dict" if isinstance(value, dict) else "list" if isinstance(value, (list, tuple, set)) else "tensor"


def _named_in(function: types.FunctionType, thing: Any) -> str:
    """The variable through which a function reaches a thing: of its closure, or a global one."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return next((n for n, cell in cells.items() if cell is thing), "") or next(
        (n for n in function.__code__.co_names if function.__globals__.get(n) is thing), ""
    )


def _in_class(chain: list[Any]) -> str:
    classes = [t for t in chain if isinstance(t, type)]
    return next((k for c in classes for k, v in vars(c).items() if any(v is thing for thing in chain[:-1])), "")
