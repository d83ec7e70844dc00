"""The intermediate representation: a model's forward pass as a frozen list of operations.

How to walk it::

    for op in graph.ops:                       # topological: every input was produced earlier
        op.name                                # "linear", "add", "scaled_dot_product_attention", ... (see `vocabulary`)
        op.module, op.call                     # qualified path of the innermost module, and which call of it (0, 1,
        ...) op.inputs                              # value indices, in the order they appear in op.args, then op.kwargs
        op.args, op.kwargs                     # the call as it was made, each tensor replaced by Ref(value index)
        for v in map(graph.value, op.outputs): # one value per output tensor (chunk, split, topk have several)
            v.shape, v.dtype
            graph.producer(v.index)            # the op that made it, None for a leaf
            graph.consumers(v.index)           # the ops that read it

Leaves (values without producer) are of kind "input", "parameter", "buffer" or "constant"; `Graph.data` holds what is
known of their numbers (inputs, buffers, constants; never parameters). A call that writes in place makes a *new* value:
the graph is in single-assignment form and ``op.inplace`` only says that a replay must copy its first argument.
`replay.run` runs an op again on any tensors.

The module imports no torch: a graph is data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from fanin.model.unregistered import Unregistered

__all__ = ["Graph", "ModuleInfo", "Op", "Output", "Parameter", "Ref", "Value", "ValueKind", "map_template", "refs_in"]

ValueKind = Literal["input", "parameter", "buffer", "constant", "op"]


# what torch takes for NumPy's sake
_NUMPY_SPELLINGS = {"dim": "axis", "keepdim": "keepdims"}


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for a tensor inside the arguments of an `Op`: the index of its `Value`."""

    index: int


def map_template(template: Any, fn: Callable[[Ref], Any]) -> Any:
    """The template with each `Ref` replaced by ``fn(ref)``; containers are rebuilt, everything else is kept.

    Example:
        >>> map_template((Ref(3), [1, Ref(4)]), lambda r: f"t{r.index}")
        ('t3', [1, 't4'])
    """
    if isinstance(template, Ref):
        return fn(template)
    if type(template) in (tuple, list):
        return type(template)(map_template(t, fn) for t in template)
    if type(template) is dict:
        return {k: map_template(t, fn) for k, t in template.items()}
    if type(template) is slice:
        return slice(*(map_template(t, fn) for t in (template.start, template.stop, template.step)))
    return template


def refs_in(template: Any) -> Iterator[int]:
    """Value indices of all `Ref` in a template, in order.

    Example:
        >>> list(refs_in(((Ref(3), [1, Ref(4)]), {"dim": 0})))
        [3, 4]
    """
    if isinstance(template, Ref):
        yield template.index
    elif type(template) in (tuple, list):
        for item in template:
            yield from refs_in(item)
    elif type(template) is dict:
        for item in template.values():
            yield from refs_in(item)
    elif type(template) is slice:
        yield from refs_in((template.start, template.stop, template.step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One tensor of the forward pass.

    Attributes:
        index: its place in `Graph.values`.
        shape: its shape, with the batch of the inputs that were given.
        dtype: without the ``torch.`` prefix ("float32", "int64", ...).
        kind: "op" for what an operation made; the others are leaves.
        name: qualified name of a parameter or buffer, path of an input ("input_ids", "0"), empty otherwise.
        op: index of the producing op, None for leaves.
        slot: which output of that op.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    kind: ValueKind
    name: str = ""
    op: int | None = None
    slot: int = 0

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it holds real or complex numbers (and so may carry a signal)."""
        return self.dtype.startswith(("float", "bfloat", "complex"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One call of a torch operation.

    Attributes:
        index: its place in `Graph.ops`.
        name: canonical name: methods, operators and functions of one operation share it ("add" for ``+``,
            ``torch.add``, ``x.add_``).
        func: what was called; ``replay.run`` calls it again.
        args: positional arguments, tensors as `Ref`.
        kwargs: keyword arguments, tensors as `Ref`.
        inputs: the value indices in args and kwargs, in order, repeats kept.
        outputs: the value indices made, in order.
        scope: the module calls around it from the outside in, each (qualified path, number of that call). The model
            itself is "".
        inplace: the call overwrites its first argument; `outputs` holds the value after the write.
    """

    index: int
    name: str
    func: Callable[..., Any] = field(repr=False, compare=False)
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scope: tuple[tuple[str, int], ...] = (("", 0),)
    inplace: bool = False

    @property
    def module(self) -> str:
        """Qualified path of the innermost module that made the call ("" for the model itself)."""
        return self.scope[-1][0]

    @property
    def call(self) -> int:
        """Which call of that module, from 0."""
        return self.scope[-1][1]

    @property
    def output(self) -> int:
        """Index of the first output."""
        return self.outputs[0]

    def arg(self, position: int, keyword: str = "", default: Any = None) -> Any:
        """The argument at a position or under a keyword, as a template; the default where it was not given."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(keyword, self.kwargs.get(_NUMPY_SPELLINGS.get(keyword, ""), default))

    def ref(self, position: int, keyword: str = "") -> int | None:
        """Value index of the tensor argument at a position or under a keyword; None where it is no tensor."""
        got = self.arg(position, keyword)
        return got.index if isinstance(got, Ref) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of the model, however many names it has.

    Attributes:
        name: its first qualified name, the key of the stream it is drawn from.
        aliases: its other qualified names (tied weights).
        shape: its shape.
        dtype: without the ``torch.`` prefix.
        value: index of its leaf in `Graph.values`.
        requires_grad: whether it is trained.
    """

    name: str
    aliases: tuple[str, ...] = ()
    shape: tuple[int, ...]
    dtype: str
    value: int
    requires_grad: bool = True

    @property
    def module(self) -> str:
        """Qualified path of the module that holds it under its first name."""
        return self.name.rpartition(".")[0]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleInfo:
    """One module of the tree.

    Attributes:
        path: qualified path, "" for the model.
        class_name: name of its class.
        calls: how often the forward pass called it.
        settings: the plain attributes (numbers, strings, flags) that a reader of the graph may need.
    """

    path: str
    class_name: str
    calls: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One tensor that the model returns: its path in the returned structure ("logits", "0.1") and its value index."""

    path: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The forward pass of one model on one set of inputs.

    Attributes:
        model: class name of the model.
        ops: all operations in the order they ran, which is topological.
        values: all tensors; a value's index is its place here.
        parameters: by first qualified name, in the order of the model; parameters that the forward pass never used
            included.
        modules: by qualified path, in the order of the model.
        inputs: indices of the input values.
        outputs: the tensors that the model returned.
        mode: "fake" where no number was computed, "real" where a real forward pass had to be run.
        notes: what had to be assumed to get through the forward pass, in words.
        traces: what the forward pass changed that could not be put back, in words; empty as a rule.
        unregistered: weights that the outputs depend on and the model does not own.
        dropout_off: the pass was to run in the mode that the modules are in, and could only be captured without.
        data: real tensors of leaves where known (inputs, buffers, constants), by value index.
    """

    model: str
    ops: tuple[Op, ...]
    values: tuple[Value, ...]
    parameters: Mapping[str, Parameter]
    modules: Mapping[str, ModuleInfo]
    inputs: tuple[int, ...]
    outputs: tuple[Output, ...]
    mode: Literal["fake", "real"] = "fake"
    notes: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    unregistered: tuple[Unregistered, ...] = ()
    dropout_off: bool = False
    data: Mapping[int, Any] = field(default_factory=dict, repr=False, compare=False)
    _readers: Mapping[int, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _live: frozenset[int] = field(init=False, repr=False, compare=False)
    _names: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        readers: dict[int, list[int]] = {}
        for op in self.ops:
            for v in dict.fromkeys(op.inputs):
                readers.setdefault(v, []).append(op.index)
        names = {n: p.name for p in self.parameters.values() for n in (p.name, *p.aliases)}
        object.__setattr__(self, "_readers", MappingProxyType({v: tuple(ops) for v, ops in readers.items()}))
        object.__setattr__(self, "_names", MappingProxyType(names))
        object.__setattr__(self, "_live", frozenset(_live_ops(self)))

    # ------------------------------------------------------------------ walking
    def value(self, index: int) -> Value:
        """The value of that index."""
        return self.values[index]

    def producer(self, value: int) -> Op | None:
        """The op that made a value; None for a leaf."""
        made_by = self.values[value].op
        return None if made_by is None else self.ops[made_by]

    def behind(self, value: int, operations: Container[str]) -> int:
        """The value that another is made of by nothing but operations of these names, each of one tensor."""
        op = self.producer(value)
        while op is not None and op.name in operations and len(op.inputs) == 1:
            value = op.inputs[0]
            op = self.producer(value)
        return value

    def consumers(self, value: int) -> tuple[Op, ...]:
        """The ops that read a value, in order, each once."""
        return tuple(self.ops[i] for i in self._readers.get(value, ()))

    def is_live(self, op: Op) -> bool:
        """Whether the op has an influence on an output; monitoring and dead branches have none."""
        return op.index in self._live

    def live_ops(self) -> Iterator[Op]:
        """The ops that have an influence on an output, in topological order."""
        return (op for op in self.ops if op.index in self._live)

    def parameter(self, name: str) -> Parameter:
        """The parameter under any of its names."""
        return self.parameters[self._names[name]]

    def parameter_of(self, value: int) -> Parameter | None:
        """The parameter whose leaf this value is; None for any other value."""
        v = self.values[value]
        return self.parameters.get(v.name) if v.kind == "parameter" else None

    def uses(self, name: str) -> tuple[Op, ...]:
        """The ops that read a parameter directly."""
        return self.consumers(self.parameter(name).value)

    def leaves(self, kind: ValueKind) -> tuple[Value, ...]:
        """All leaf values of one kind."""
        return tuple(v for v in self.values if v.kind == kind)


def _live_ops(graph: Graph) -> Iterable[int]:
    """Indices of the ops from which an output can be reached; all of them where the model returned no tensor."""
    if not graph.outputs:
        return range(len(graph.ops))
    wanted = {o.value for o in graph.outputs}
    live = []
    for op in reversed(graph.ops):
        if not wanted.isdisjoint(op.outputs):
            live.append(op.index)
            wanted.update(op.inputs)
    return live
