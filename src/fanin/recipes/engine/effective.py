"""What the model makes of a parameter before it uses it: a multiple of it, its sums along an axis, a function of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fanin.graph.ir import Op
from fanin.graph.recording.replay import before, replayed
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import ELEMENTWISE, JOINS, MATRIX_PRODUCTS, SAME_NUMBERS, VIEWS

if TYPE_CHECKING:
    import torch

    from fanin.recipes.engine.network import Network

__all__ = [
    "Function",
    "OwnSize",
    "Stretch",
    "effective",
    "functions",
    "held",
    "is_near",
    "is_shaped",
    "multiplied_by",
    "operands",
    "own_size",
    "stretches",
]

_PADS = frozenset(
    (
        *("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
        *("replication_pad1d", "replication_pad2d", "replication_pad3d"),
    )
)
_AFFINE = frozenset(
    ("transpose", "select", "join", "factor", "product", "add", "sub", "rsub", "neg", "weight_norm", "clone", "to")
)
_MASKS = frozenset({"tril", "triu"})  # views that set entries to zero
_PRODUCTS = MATRIX_PRODUCTS | {"mul"}
_SAME = 0.01  # relative difference of two sizes that are the same
_NUMBERS = 1 << 16  # that a size is measured on, in several draws of a small value
_MOST_DRAWS = 32
_MOST_NUMBERS = 1 << 24  # of a value that is measured whole
_RANGE = math.log(1e4)  # how far from the size that is wanted a parameter's own is looked for
_STEP = math.log(1.1)
_FOLLOWS = 0.4  # share of a small change of a value's size that the size of the result follows, at least
_SEED = 0


# ---------------------------------------------------------------------- the names
def is_shaped(role: ParameterRole) -> bool:
    """Whether more than views, factors and products lie between a parameter and its use."""
    return role.use is not None and bool(set(role.use.chain) - _AFFINE) and "weight_norm" not in role.use.chain


def functions(role: ParameterRole) -> str:
    """The names of what lies between them."""
    return " and ".join(n for n in role.use.chain if n not in _AFFINE) if role.use is not None else ""


# ---------------------------------------------------------------------- the numbers
def operands(network: Network, role: ParameterRole) -> tuple[int, ...]:
    """The values, made of parameters alone, by which the uses of a parameter multiply, each once."""
    own, found = network.graph.parameters[role.name].value, dict[int, None]()
    for use in role.uses:
        for value in network.graph.ops[use.op].inputs:
            reads = value == own or (value in network.weight_only and own in network.leaves_of(value))
            if reads and network.graph.value(value).shape:
                found[value] = None
                break
    return tuple(found)


def effective(network: Network, role: ParameterRole, value: int, numbers: torch.Tensor) -> torch.Tensor:
    """What the model makes of these numbers in the place of a parameter, at a value made of parameters alone.

    Other parameters on the way have the numbers that the model holds.

    Raises:
        LookupError: a number on the way is not known, or there are too many operations.
    """
    graph = network.graph
    made: torch.Tensor = replayed(graph, {graph.parameters[role.name].value: numbers}, value, held(network))
    return made


def held(network: Network) -> Callable[[int], Any]:
    """The numbers that the model holds, by value index."""
    return lambda value: network.tensors[network.graph.value(value).name]


def multiplied_by(network: Network, op: Op, value: int) -> float | None:
    """The constant that an operation multiplies a value by; None where it does something else."""
    if op.name == "neg":
        return -1.0
    if op.name not in ("mul", "div") or (op.name == "div" and op.inputs[0] != value):
        return None
    others = [v for v in op.inputs if v != value]
    known = [network.graph.data.get(v) for v in others if network.graph.value(v).kind != "input"]
    numbers = [float(a) for a in op.args if isinstance(a, int | float) and not isinstance(a, bool)]
    numbers += [float(x) for x in known if x is not None and x.numel() == 1 and x.device.type != "meta"]
    if len(numbers) != 1 or not numbers[0]:
        return None
    return numbers[0] if op.name == "mul" else 1.0 / numbers[0]


# ---------------------------------------------------------------------- the size of one function of one value
@dataclass(frozen=True)
class Function:
    """What the model makes of one value, and of constants, on the way to another.

    Attributes:
        network: the captured model.
        start: the value, by its index.
        end: what is made of it.
    """

    network: Network
    start: int
    end: int

    @cached_property
    def ops(self) -> tuple[Op, ...]:
        """The operations between the two, in order."""
        return before(self.network.graph, self.end, {self.start, *self.network.graph.data})

    @property
    def is_view(self) -> bool:
        """Whether it holds the numbers of the value, in another order or shape."""
        return all(op.name in VIEWS and op.name not in _MASKS for op in self.ops)

    @property
    def has_own_size(self) -> bool:
        """Whether its size is that of a function of the value.

        It is not where the value is joined with other numbers, or padded, or turned from real to complex.
        """
        value = self.network.graph.value
        if value(self.start).dtype != value(self.end).dtype and "complex" in value(self.end).dtype:
            return False
        mine = {self.start}
        for op in self.ops:
            if op.name in _PADS or (op.name in JOINS and not mine.issuperset(op.inputs)):
                return False
            if mine.intersection(op.inputs):
                mine.update(op.outputs)
        return True

    @cached_property
    def entry_by_entry(self) -> bool:
        """Whether each entry is a function of one entry of the value and of single numbers."""
        mine = {self.start}
        for op in self.ops:
            others = [v for v in op.inputs if v not in mine]
            if op.name not in ELEMENTWISE | SAME_NUMBERS or any(self.network.graph.value(v).shape for v in others):
                return False
            mine.update(op.outputs)
        return True

    def size(self, draw: Callable[[int], torch.Tensor] | None, std: float) -> float | None:
        """Root mean square of what is made of numbers of this std in the place of the value.

        None where an operation does not run alone, or where nothing but zeros is made.

        Args:
            draw: numbers of std 1 for a seed; None for normal ones.
            std: their factor.
        """
        import torch

        before = after = 0.0
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                for drawn in self._drawn(draw):
                    made = replayed(self.network.graph, {self.start: drawn * std}, self.end)
                    before, after = before + _second(drawn), after + _second(made)
        except Exception:  # an operation that does not run alone says nothing of the size
            return None
        size = math.sqrt(after / before) if before > 0.0 else 0.0
        return size if 0.0 < size < math.inf else None

    def _drawn(self, draw: Callable[[int], torch.Tensor] | None) -> Iterator[torch.Tensor]:
        """Numbers of std 1, but for chance, in the place of the value: several draws of a small one.

        Raises:
            LookupError: there would be too many.
        """
        import torch

        value = self.network.graph.value(self.start)
        dtype: Any = getattr(torch, value.dtype)
        if self.entry_by_entry:
            yield torch.randn(_NUMBERS, generator=_generator(_SEED), dtype=dtype, device="cpu")
            return
        if value.numel > _MOST_NUMBERS:
            raise LookupError("too many numbers")
        for seed in range(max(1, min(_MOST_DRAWS, _NUMBERS // max(value.numel, 1)))):
            if draw is not None:
                yield draw(seed).to(dtype)
            else:
                yield torch.randn(value.shape, generator=_generator(seed), dtype=dtype, device="cpu")


def _generator(seed: int) -> torch.Generator:
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def _second(x: torch.Tensor) -> float:
    return float(x.detach().abs().double().square().mean())


# ---------------------------------------------------------------------- the size that gives another
@dataclass(frozen=True, slots=True)
class OwnSize:
    """The std of a value at which what is made of it has a size that is wanted.

    Attributes:
        std: it.
        bends: whether twice the value makes something else than twice as much.
    """

    std: float
    bends: bool


def own_size(size_at: Callable[[float], float | None], wanted: float) -> OwnSize | None:
    """The std at which what is made of a value has the size that is wanted; None where its size does not follow.

    Where a bounded function would have to be driven far into its bounds, the std from which ten percent more of the
    value make less than four percent more of the result: there most entries still follow their value.

    Example:
        >>> own_size(lambda std: 6.0 * std, 3.0), own_size(lambda std: 8.0, 3.0)
        (OwnSize(std=0.5, bends=False), None)
    """
    first = size_at(wanted)
    if first is None:
        return None
    if is_near(first, wanted):
        return OwnSize(wanted, bends=False)
    guess = wanted * wanted / first
    if is_near(size_at(guess), wanted):  # a multiple, a sum, a mask
        return OwnSize(guess, bends=False)
    from scipy.optimize import brentq  # loads SciPy's solvers, which few models need

    def missing(log_std: float) -> float:
        size = size_at(math.exp(log_std))
        return math.nan if size is None else math.log(size / wanted)

    def follows(log_std: float) -> float:
        return (missing(log_std + _STEP) - missing(log_std)) / _STEP - _FOLLOWS

    low, high = (math.log(wanted) + sign * _RANGE for sign in (-1.0, 1.0))
    while high > math.log(wanted) and size_at(math.exp(high + _STEP)) is None:  # exp overflows there
        high -= 1.0
    try:
        if not (follows(low) > 0.0 and missing(low) < 0.0):
            return None
        if not follows(high) > 0.0:
            high = float(brentq(follows, low, high, xtol=1e-3))
        found = float(brentq(missing, low, high, xtol=1e-4)) if missing(high) > 0.0 else high
    except (ValueError, RuntimeError):  # no number on the way
        return None
    return OwnSize(math.exp(found), bends=True)


def is_near(one: float | None, two: float) -> bool:
    """Whether two sizes are the same but for what no start depends on."""
    return one is not None and abs(one - two) <= _SAME * two


# ---------------------------------------------------------------------- of several parameters
@dataclass(frozen=True, slots=True)
class Stretch:
    """A function of one value on the way from a parameter to its use.

    Attributes:
        made: the function.
        factors: weights whose product its value is; 1 for the parameter itself.
    """

    made: Function
    factors: int


def stretches(network: Network, role: ParameterRole, value: int) -> tuple[Stretch, ...] | None:
    """The functions that a parameter goes through up to a value, between which other parameters join it.

    None where they are too many, or where more than one function of it meets another parameter.
    """
    graph, constants = network.graph, {v for v in network.graph.data if network.graph.value(v).kind != "input"}
    own = graph.parameters[role.name].value
    found, start, factors = list[Stretch](), own, 1
    try:
        while start != value:
            ops = before(network.graph, value, {start} | constants)
            alone, meetings = _alone(ops, start, constants)
            ends = {v for op in meetings for v in op.inputs if v in alone} or {value}
            if len(ends) > 1 or len(meetings) > 1:
                return None
            end = ends.pop()
            found.append(Stretch(Function(network, start, end), factors))
            start = meetings[0].output if meetings else end
            factors = _factors(network, start)
    except LookupError:
        return None
    return tuple(s for s in found if s.made.start != s.made.end)


def _alone(ops: tuple[Op, ...], start: int, constants: set[int]) -> tuple[set[int], list[Op]]:
    """The values made of one value and constants alone, and the operations that read one of them beside others."""
    alone, free, meetings = {start}, set(constants), list[Op]()
    for op in ops:
        if free.issuperset(op.inputs):
            free.update(op.outputs)
        elif (alone | free).issuperset(op.inputs):
            alone.update(op.outputs)
        elif alone.intersection(op.inputs):
            meetings.append(op)
    return alone, meetings


def _factors(network: Network, value: int) -> int:
    """Weights that a value is the product of; of a sum, those of its largest term."""
    producer = network.graph.producer(value)
    if producer is None:
        leaf = network.graph.value(value)
        role = network.roles.parameters.get(leaf.name) if leaf.kind == "parameter" else None
        return int(role is not None and role.role == "weight" and leaf.name not in network.kept)
    counts = [_factors(network, v) for v in dict.fromkeys(producer.inputs)]
    return sum(counts) if producer.name in _PRODUCTS else max(counts, default=0)
