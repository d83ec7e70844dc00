"""Parameters that multiply a signal number by number and are summed then, or spread it along an axis of their own.

An additive attention scores with (z * a).sum(-1): a map to one output that no operation of torch names. A tokenizer of
features multiplies each number by a vector: a map of fan_in 1.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from fanin.measure.calls import Call
from fanin.measure.origins import Living, Origin
from fanin.measure.record import Elementwise
from fanin.measure.sampling import is_signal, rms
from fanin.model.operations import VIEWS

__all__ = ["ElementwiseUses"]


@dataclass(frozen=True, slots=True)
class _Product:
    """What a tensor is: a signal times one parameter. `signal` is None where the product itself was measured."""

    name: str
    sizes: tuple[int, ...] = ()  # of the parameter, along the axes of the product
    signal: weakref.ref[torch.Tensor] | None = None


_NONE = _Product("")
_JOINS = frozenset(("add", "addcmul", "cat", "stack"))
_LOOKED_AT = VIEWS | _JOINS | {"mul", "sum", "einsum", "matmul", "mv"}


@dataclass(slots=True)
class ElementwiseUses:
    """The products of a pass.

    Attributes:
        found: by the name of the parameter.
    """

    found: dict[str, Elementwise] = field(default_factory=dict)
    _products: Living[_Product] = field(default_factory=lambda: Living(_NONE))

    def note(self, call: Call, given: Sequence[torch.Tensor], origins: Sequence[Origin], out: torch.Tensor) -> None:
        """Look at one operation that has run, and at what it gave."""
        if call.op not in _LOOKED_AT or not is_signal(out):
            return
        if call.op in ("mul", "addcmul"):
            self._multiplied(given, origins, out)
        elif call.op == "sum":
            self._summed(call, given[0], out)
        elif call.op in ("einsum", "matmul", "mv"):
            self._contracted(call, given, origins, out)
        if call.op in _JOINS:
            self._joined(given, origins, out)
        elif call.op in VIEWS and given and (known := self._products[given[0]]).name:
            self._products[out] = _Product(known.name)

    def _multiplied(self, given: Sequence[torch.Tensor], origins: Sequence[Origin], out: torch.Tensor) -> None:
        pair = _signal_and_parameter(given[-2:], origins[-2:])
        if pair is None:
            return
        x, p, name = pair
        sizes, own = _aligned(p, out), _aligned(x, out)
        spreads = any(a > 1 and b == 1 for a, b in zip(sizes, own, strict=True))
        if spreads:
            self._keep(name, 1, x, rms(x) * rms(p))
        self._products[out] = _Product(name, sizes, None if spreads else weakref.ref(x))

    def _summed(self, call: Call, product: torch.Tensor, out: torch.Tensor) -> None:
        known = self._products[product]
        x = None if known.signal is None else known.signal()
        dims = call.argument(1, "dim", range(product.dim()))
        if x is None or not known.sizes or dims is None:
            return
        axes = {d % len(known.sizes) for d in ([dims] if isinstance(dims, int) else dims) if isinstance(d, int)}
        self._keep(known.name, math.prod(known.sizes[d] for d in axes), x, rms(out))

    def _contracted(
        self, call: Call, given: Sequence[torch.Tensor], origins: Sequence[Origin], out: torch.Tensor
    ) -> None:
        pair = _signal_and_parameter(given, origins)
        if pair is None:
            return
        x, p, name = pair
        equation = call.args[0] if call.args else None
        if not isinstance(equation, str):
            if call.op != "einsum" and p.dim() == 1 and given[-1] is p:
                self._keep(name, p.numel(), x, rms(out))
            return
        sides, _, left = equation.replace(" ", "").partition("->")
        terms = dict(zip((id(t) for t in given), sides.split(","), strict=False))
        own, other = terms.get(id(p), ""), terms.get(id(x), "")
        if "." in sides or len(own) != p.dim():
            return
        summed = [n for letter, n in zip(own, p.shape, strict=True) if letter not in left]
        if summed and set(own) <= set(other) and set(left) <= set(other):
            self._keep(name, math.prod(summed), x, rms(out))
        elif not summed and not set(own) <= set(other):
            self._keep(name, 1, x, rms(out))
            self._products[out] = _Product(name)

    def _joined(self, given: Sequence[torch.Tensor], origins: Sequence[Origin], out: torch.Tensor) -> None:
        """Parameters that are added to a product, or set beside it, as they are."""
        made = next((k for t in (*given, out) if (k := self._products[t]).name in self.found), None)
        if made is None:
            return
        others = {n for o in origins if not o.data and len(o.parameters) == 1 for n in o.parameters} - {made.name}
        use = self.found[made.name]
        self.found[made.name] = replace(use, beside=tuple(sorted({*use.beside, *others})))
        self._products[out] = _Product(made.name)

    def _keep(self, name: str, summed: int, signal: torch.Tensor, result: float) -> None:
        """Of several uses the one that amplifies most."""
        size = rms(signal)
        made = Elementwise(summed=summed, signal=size, result=result)
        if summed >= 1 and size > 0 and math.isfinite(result) and made.amplification > self._so_far(name):
            self.found[name] = made

    def _so_far(self, name: str) -> float:
        return self.found[name].amplification if name in self.found else 0.0


def _signal_and_parameter(
    given: Sequence[torch.Tensor], origins: Sequence[Origin]
) -> tuple[torch.Tensor, torch.Tensor, str] | None:
    """The one signal and the one parameter of more than one number among two operands, and its name."""
    data = [t for t, o in zip(given, origins, strict=True) if o.data and t.is_floating_point()]
    fixed = [(t, o) for t, o in zip(given, origins, strict=True) if not o.data and len(o.parameters) == 1]
    if len(given) != 2 or len(data) != 1 or len(fixed) != 1 or fixed[0][0].numel() < 2:
        return None
    return data[0], fixed[0][0], next(iter(fixed[0][1].parameters))


def _aligned(x: torch.Tensor, out: torch.Tensor) -> tuple[int, ...]:
    """Sizes of an operand along the axes of the result."""
    return (1,) * (out.dim() - x.dim()) + tuple(x.shape)
