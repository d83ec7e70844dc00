"""The recorder: sees every torch call of a forward pass and writes it down.

It hands stand-ins to torch instead of the model's own tensors (fake tensors, or clones of buffers where a real forward
is run), so no tensor of the model is ever written to, and nothing is allocated for a model built on the meta device.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fanin.graph.ir import Op, Ref, Value, ValueKind, refs_in
from fanin.graph.recording.constants import Constants, is_real
from fanin.graph.recording.dtypes import refuse_mixed_dtypes
from fanin.model.nested import refuse_nested
from fanin.model.operations import canonical_name, is_inplace
from fanin.model.trees import tensors_in

__all__ = ["GapFill", "Recorder", "module_scopes"]

# attribute reads that arrive as calls and give a tensor of the signal; all others (shape, dtype, grad, ...) are facts
# about it
_TENSOR_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "data", "real", "imag"})
_ASK_THE_ORIGINAL = frozenset({"requires_grad", "is_leaf", "grad", "grad_fn"})


class Rescuer(Protocol):
    """What helps when operations do not run on fake tensors (see `fallbacks`)."""

    def instead(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result to use without running the operation, or None."""

    def __call__(
        self,
        recorder: Recorder,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: BaseException,
    ) -> Any:
        """The result of an operation that failed, or raise."""


Geometry = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(slots=True)
class _Write:
    """One write into a storage: which value holds the result, and which part of the storage it covers."""

    serial: int
    value: int
    geometry: Geometry


@dataclass(slots=True)
class Tape:
    """What has been recorded so far."""

    values: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    data: dict[int, Any] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def leaf(self, tensor: Any, kind: ValueKind, name: str = "", data: Any = None) -> int:
        """Index of a new value without producer."""
        refuse_nested((tensor,))
        index = len(self.values)
        self.values.append(
            Value(index=index, shape=tuple(tensor.shape), dtype=dtype_name(tensor), kind=kind, name=name)
        )
        if data is not None and not data.is_meta:
            self.data[index] = data
        return index

    def op_value(self, tensor: Any, slot: int) -> int:
        """Index of a new value that the op about to be written makes."""
        refuse_nested((tensor,))
        index = len(self.values)
        self.values.append(
            Value(
                index=index, shape=tuple(tensor.shape), dtype=dtype_name(tensor), kind="op", op=len(self.ops), slot=slot
            )
        )
        return index


def dtype_name(tensor: Any) -> str:
    """A tensor's dtype without the ``torch.`` prefix."""
    return str(tensor.dtype).removeprefix("torch.")


class Recorder(TorchFunctionMode):
    """Records torch calls on a `Tape` while it is active."""

    def __init__(
        self,
        *,
        stand_in: Callable[[Any, str], Any],
        owned: Mapping[int, tuple[ValueKind, str]],
        rescue: Rescuer | None = None,
        constants: Constants | None = None,
    ) -> None:
        """Make a recorder.

        Args:
            stand_in: gives, for a tensor of the outside world and its kind, the tensor that torch will work on.
            owned: kind and name of the model's tensors, by ``id``.
            rescue: asked before an operation whose fake kernel is slow or too strict, and after one that failed.
            constants: runs for real what depends on constants alone, where the rest runs on fake tensors.
        """
        super().__init__()
        self.tape: Tape = Tape()
        self.scope: tuple[tuple[str, int], ...] = (("", 0),)
        self.in_flight: int = 0
        self.gaps: int = 0
        self.failed_in: str | None = None
        self.fake_mode: Any = None
        self._make_stand_in, self._owned, self._rescue, self._constants = stand_in, owned, rescue, constants
        self._faded: dict[int, Any] = {}  # id of a constant's storage -> the fake memory that took its place
        self._stand_ins: dict[int, Any] = {}
        self._leaves: dict[int, int] = {}
        self._bound: dict[
            int, tuple[int, int]
        ] = {}  # id(tensor) -> (value index, serial number of its storage when bound)
        self._writes: dict[int, list[_Write]] = {}  # id of storage -> writes in order
        self._last: dict[int, int] = {}  # id of storage -> value last bound to it
        self._alive: list[Any] = []
        self._outside: list[Any] = []  # tensors of the model and the caller, which are never written to
        self.poisoned: list[Any] = []  # real tensors whose numbers are no longer those that they should hold
        self.known: dict[
            int, Any
        ] = {}  # id(result tensor) -> its numbers, where a rescue had to assume or compute them

    # ------------------------------------------------------------------ leaves
    def add_leaf(self, tensor: Any, kind: ValueKind, name: str = "") -> Any:
        """Make a leaf of a tensor of the outside world; gives its stand-in."""
        known = self._stand_ins.get(id(tensor))
        if known is not None:
            return known
        stand_in = self._make_stand_in(tensor, kind)
        index = self.tape.leaf(stand_in, kind, name, None if kind == "parameter" else tensor)
        self._stand_ins[id(tensor)] = stand_in
        self._leaves[id(tensor)] = index
        self._outside.append(tensor)
        self._bind(stand_in, index)
        return stand_in

    def outsiders(self) -> list[tuple[Any, Any]]:
        """(tensor, stand-in) of the tensors that the forward reads and neither the model nor the caller gave."""
        return [
            (t, self._stand_ins[id(t)])
            for t in self._outside
            if self.tape.values[self._leaves[id(t)]].kind == "constant" and id(t) in self._stand_ins
        ]

    def leaf_index(self, tensor: Any) -> int:
        """Value index of the leaf of a tensor of the outside world."""
        return self._leaves[id(tensor)]

    def swap(self, tree: Any) -> Any:
        """The arguments with every tensor of the outside world replaced by its stand-in."""
        if isinstance(tree, torch.Tensor):
            return self._swap_tensor(tree)
        if type(tree) in (tuple, list):
            return type(tree)(self.swap(t) for t in tree)
        if type(tree) is dict:
            return {k: self.swap(t) for k, t in tree.items()}
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return type(tree)(*(self.swap(t) for t in tree))
        if type(tree) is slice:
            return slice(self.swap(tree.start), self.swap(tree.stop), self.swap(tree.step))
        return tree

    def _swap_tensor(self, tensor: Any) -> Any:
        if id(tensor) in self._stand_ins:
            return self._stand_ins[id(tensor)]
        if id(tensor) in self._bound:
            return self._fade(tensor) if self._faded and is_real(tensor) and _storage(tensor) in self._faded else tensor
        if id(tensor) in self._owned:
            return self.add_leaf(tensor, *self._owned[id(tensor)])
        if _is_wrapped(tensor) or self._is_known_storage(tensor) or self.makes(tensor):
            return tensor
        return self.add_leaf(tensor, "constant")

    def makes(self, tensor: Any) -> bool:
        """Whether a tensor can only come from an operation (and so must not be taken for a constant)."""
        return isinstance(tensor, FakeTensor)

    def _is_known_storage(self, tensor: Any) -> bool:
        return _storage(tensor) in self._writes

    # ------------------------------------------------------------------ constants
    def _fade(self, tensor: Any) -> Any:
        """A fake tensor in the place of a constant into which the signal is written: its numbers are not known now.

        All tensors that share its memory get stand-ins that share memory, so that each sees what the others write.
        """
        value, storage = self.ref(tensor), _storage(tensor)
        base = self._faded.get(storage)
        with self.fake_mode:
            if base is None:
                size = tensor.untyped_storage().nbytes()
                base = self._faded[storage] = torch.empty(size, dtype=torch.uint8, device=tensor.device)
                self._writes[_storage(base)] = self._writes.setdefault(storage, [])
                if storage in self._last:
                    self._last[_storage(base)] = self._last[storage]
            whole = base.view(tensor.dtype) if base.numel() else base.to(tensor.dtype)
            stand_in = whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        self._bound[id(stand_in)] = (value.index, self._serial(stand_in))
        self._stand_ins[id(tensor)] = stand_in
        self._alive += [tensor, stand_in]
        self.poisoned.append(tensor)
        return stand_in

    def _fade_targets(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with a constant that is about to be overwritten (the first one, or ``out``) made fake."""
        if self._constants is None:
            return args, kwargs
        if args and isinstance(args[0], torch.Tensor) and is_real(args[0]) and is_inplace(func):
            args = (self._fade(args[0]), *args[1:])
        out = kwargs.get("out")
        if isinstance(out, torch.Tensor) and is_real(out):
            kwargs = {**kwargs, "out": self._fade(out)}
        return args, kwargs

    def release(self) -> list[weakref.ref[Any]]:
        """Let go of every tensor; gives its own without true numbers, to be asked later whether they are alive."""
        fake = [t for t in self._alive if isinstance(t, FakeTensor) and t.fake_mode is self.fake_mode]
        born = {id(t): weakref.ref(t) for t in (*fake, *self.poisoned)}
        for table in (self._alive, self._outside, self.poisoned, self._stand_ins, self._faded, self.known):
            table.clear()
        return list(born.values())

    # ------------------------------------------------------------------ identity
    def _bind(self, tensor: Any, value: int) -> None:
        storage = _storage(tensor)
        writes = self._writes.setdefault(storage, [])
        self._bound[id(tensor)] = (value, writes[-1].serial if writes else 0)
        self._last[storage] = value
        self._alive.append(tensor)

    def _bind_result(self, tensor: Any, value: int) -> None:
        self._bind(tensor, value)
        inner = tensor
        while _is_wrapped(inner):
            inner = torch._C._functorch.get_unwrapped(inner)
            self._bind(inner, value)

    def ref(self, tensor: Any) -> Ref:
        """The `Ref` of a tensor, with all writes into its storage seen."""
        if id(tensor) not in self._bound:
            self._adopt(tensor)
        value, seen = self._bound[id(tensor)]
        logical = tuple(tensor.shape)
        if (
            self.tape.values[value].shape != logical
            and not _is_wrapped(tensor)
            and _is_functorch_mismatch(self.tape.values[value].shape, logical)
        ):
            value = self._emit("vmap_stack", _expander(logical), (Ref(value),), {}, [tensor])[0]
        for write in self._writes.get(_storage(tensor), ())[:]:
            if write.serial > seen and write.value != value:
                value = self._see(tensor, value, write)
        self._bound[id(tensor)] = (value, self._serial(tensor))
        return Ref(value)

    def maker_of(self, tensor: Any) -> Op | None:
        """The recorded op that made a tensor."""
        made = self.tape.values[self.ref(tensor).index].op
        return None if made is None else self.tape.ops[made]

    def _serial(self, tensor: Any) -> int:
        writes = self._writes.get(_storage(tensor))
        return writes[-1].serial if writes else 0

    def _adopt(self, tensor: Any) -> None:
        """Bind a tensor that no recorded operation made: a functorch view of a known one, or a gap."""
        if _is_wrapped(tensor):
            inner = self.ref(self._swap_tensor(torch._C._functorch.get_unwrapped(tensor)))
            dim = torch._C._functorch.maybe_get_bdim(tensor)
            if dim >= 0:
                self._emit("vmap_slice", torch.select, (inner, dim, 0), {}, [tensor])
            else:
                self._bind(tensor, inner.index)
            return
        known = self._last.get(_storage(tensor))
        if known is not None:
            self._emit("as_strided", torch.as_strided, (Ref(known), *_geometry(tensor)), {}, [tensor])
            return
        self.gaps += 1
        self._bind(tensor, self.tape.leaf(tensor, "constant"))

    def _see(self, tensor: Any, value: int, write: _Write) -> int:
        """The value of a tensor after a write through another view of its storage."""
        size, stride, offset = _geometry(tensor)
        if write.geometry == (size, stride, offset):
            return write.value
        if self.tape.values[write.value].numel >= tensor.numel():
            args: tuple[Any, ...] = (Ref(write.value), size, stride, max(offset - write.geometry[2], 0))
            return self._emit("as_strided", torch.as_strided, args, {}, [tensor])[0]
        w_size, w_stride, w_offset = write.geometry
        args = (Ref(value), Ref(write.value), w_size, w_stride, max(w_offset - offset, 0))
        return self._emit("as_strided_scatter", torch.as_strided_scatter, args, {}, [tensor])[0]

    # ------------------------------------------------------------------ recording
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._read_attribute(func, args)
        if name in ("__iter__", "__reversed__") and getattr(args[0], "ndim", 0) > 0:
            parts = self.call(torch.unbind, (args[0], 0), {})
            return iter(parts if name == "__iter__" else parts[::-1])
        if name == "__set__" and func.__self__.__name__ == "data":
            return (
                self.call(torch.Tensor.copy_, args, kwargs)
                if args[0].shape == args[1].shape
                else func(*self.swap(args))
            )
        return self.call(func, args, kwargs)

    def _read_attribute(self, func: Any, args: Any) -> Any:
        attribute = func.__self__.__name__
        if attribute in _TENSOR_ATTRIBUTES:
            return self.call(func, args, {})
        if attribute in _ASK_THE_ORIGINAL:
            return func(*args)
        return func(*self.swap(args))

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation on stand-ins and record it if it made or changed a tensor."""
        args, kwargs = self.swap(tuple(args)), self.swap(dict(kwargs))
        self.in_flight += 1
        try:
            done, result = (False, None) if self._constants is None else self._constants.run(func, args, kwargs)
            if not done:
                args, kwargs = self._fade_targets(func, args, kwargs)
                result = self._run(func, args, kwargs)
        except Exception:
            self.failed_in = self.scope[-1][0] if self.failed_in is None else self.failed_in
            raise
        finally:
            self.in_flight -= 1
        self.record(func, args, kwargs, result)
        return result

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._rescue is None:
            return func(*args, **kwargs)
        refuse_mixed_dtypes(canonical_name(func), args, kwargs)
        instead = self._rescue.instead(func, canonical_name(func), args, kwargs)
        if instead is not None:
            return instead
        try:
            return func(*args, **kwargs)
        except Exception as error:
            return self._rescue(self, func, canonical_name(func), args, kwargs, error)

    def record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Write one call down."""
        targets = list(tensors_in(kwargs.get("out")))
        if targets:
            self._record_into(targets, func, args, {k: v for k, v in kwargs.items() if k != "out"})
            return
        inplace = is_inplace(func) and bool(args) and isinstance(args[0], torch.Tensor)
        made = [args[0]] if inplace else list(tensors_in(result))
        given = {id(t) for t in tensors_in([args, list(kwargs.values())])}
        if not made or (not inplace and all(id(t) in given for t in made)):
            return
        name = canonical_name(func)
        self._emit(name, func, self.template(args), self.template(kwargs), made, inplace=inplace)
        if inplace:
            self._note_write(args[0])

    def _record_into(self, targets: list[Any], func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Write down a call that puts its results into tensors of the caller: a call that makes them, and writes."""
        self._emit(canonical_name(func), _making(func), self.template(args), self.template(kwargs), targets)
        for target in targets:
            self._note_write(target)

    def template(self, tree: Any) -> Any:
        """Arguments with tensors replaced by `Ref`."""
        if isinstance(tree, torch.Tensor):
            return self.ref(tree)
        if isinstance(tree, torch.Size):
            return tuple(tree)
        if isinstance(tree, torch.Generator):
            return tree.clone_state()  # whoever runs the operation again must not draw from the model's own
        if type(tree) in (tuple, list):
            return type(tree)(self.template(t) for t in tree)
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return tuple(self.template(t) for t in tree)
        if type(tree) is dict:
            return {k: self.template(t) for k, t in tree.items()}
        if type(tree) is slice:
            return slice(self.template(tree.start), self.template(tree.stop), self.template(tree.step))
        return tree

    def _emit(
        self, name: str, func: Any, args: Any, kwargs: Any, made: list[Any], *, inplace: bool = False
    ) -> tuple[int, ...]:
        inputs = (*refs_in(args), *refs_in(kwargs))
        outputs = tuple(self.tape.op_value(t, slot) for slot, t in enumerate(made))
        self.tape.ops.append(
            Op(
                index=len(self.tape.ops),
                name=name,
                func=func,
                args=args,
                kwargs=kwargs,
                inputs=inputs,
                outputs=outputs,
                scope=self.scope,
                inplace=inplace,
            )
        )
        for tensor, value in zip(made, outputs, strict=True):
            self._bind_result(tensor, value)
            if id(tensor) in self.known:
                self.tape.data[value] = self.known[id(tensor)]
        return outputs

    def _note_write(self, tensor: Any) -> None:
        writes = self._writes.setdefault(_storage(tensor), [])
        serial = writes[-1].serial + 1 if writes else 1
        value = self._bound[id(tensor)][0]
        writes.append(_Write(serial, value, _geometry(tensor)))
        self._bound[id(tensor)] = (value, serial)


class GapFill(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the ATen calls that no Python call announced (TorchScript bodies, custom operators)."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._recorder.in_flight:
            return func(*args, **(kwargs or {}))
        args, kwargs = self._recorder.swap(tuple(args)), self._recorder.swap(dict(kwargs or {}))
        result = func(*args, **kwargs)
        self._recorder.record(func, args, kwargs, result)
        return result


def module_scopes(recorder: Recorder, paths: Mapping[int, str]) -> Iterator[Any]:
    """Global forward hooks that keep ``recorder.scope`` at the module being run; gives their handles."""
    counts: dict[str, int] = {}
    outside = sys.exc_info()[1]

    def enter(module: Any, _args: Any) -> None:
        path = paths.get(id(module)) or f"{recorder.scope[-1][0]}.<{type(module).__name__}>"
        path = "" if paths.get(id(module)) == "" else path.lstrip(".")
        counts[path] = counts.get(path, -1) + 1
        recorder.scope = (*recorder.scope, (path, counts[path]))

    def leave(module: Any, _args: Any, _out: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and error is not outside and recorder.failed_in is None:
            recorder.failed_in = recorder.scope[-1][0]
        recorder.scope = recorder.scope[:-1] or (("", 0),)

    yield torch.nn.modules.module.register_module_forward_pre_hook(enter)
    yield torch.nn.modules.module.register_module_forward_hook(leave, always_call=True)


# ---------------------------------------------------------------------- small facts about tensors
def _making(func: Any) -> Any:
    """The form of an operation that makes its results; the others of `torch.ops` take the place for them."""
    return func.overloadpacket if isinstance(func, torch._ops.OpOverload) else func


def _is_wrapped(tensor: Any) -> bool:
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def _storage(tensor: Any) -> int:
    inner = tensor
    while _is_wrapped(inner):
        inner = torch._C._functorch.get_unwrapped(inner)
    try:
        return int(inner.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and nested tensors have no single storage
        return -id(inner)


def _geometry(tensor: Any) -> Geometry:
    try:
        return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())
    except (NotImplementedError, RuntimeError):
        return tuple(tensor.shape), (), 0


def _is_functorch_mismatch(recorded: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    return len(actual) == len(recorded) + 1


def _expander(shape: tuple[int, ...]) -> Callable[[Any], Any]:
    def vmap_stack(sample: Any) -> Any:
        return sample.unsqueeze(0).expand(shape)

    return vmap_stack
