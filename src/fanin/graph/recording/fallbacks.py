"""What to do when an operation cannot run on fake tensors: compute it if that is cheap, else assume, and say so.

In order: (1) replay what the operation depends on with real numbers (masks, lengths, causal checks: nearly all, since
they hold no parameter); (2) a number read from a parameter's signal (``.item()``, ``bool(...)``) is computed if cheap,
else assumed; (3) zero-dimensional tensors used as sizes become integers; (4) the operation runs for real on stand-ins
of the same shapes, masks all true, so that every branch that routing could take is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from fanin.graph.ir import Value, map_template, refs_in
from fanin.graph.recording.known_shapes import known_result
from fanin.graph.recording.recorder import Recorder, Tape
from fanin.graph.recording.replay import run
from fanin.model.trees import tensors_in

__all__ = ["Rescue"]

# calls that turn a tensor into Python numbers, and what is assumed of the number when it cannot be computed
_READS: Mapping[str, Callable[[Any], Any]] = {
    "item": lambda t: _assumed(t.dtype),
    "_local_scalar_dense": lambda t: _assumed(t.dtype),
    "bool": lambda t: False,
    "is_nonzero": lambda t: False,
    "int": lambda t: 1,
    "index": lambda t: 1,
    "float": lambda t: 1.0,
    "complex": lambda t: 1.0 + 0.0j,
    "tolist": lambda t: torch.ones(tuple(t.shape), dtype=t.dtype).tolist(),
    "numpy": lambda t: torch.ones(tuple(t.shape), dtype=t.dtype).numpy(),
    "array": lambda t: torch.ones(tuple(t.shape), dtype=t.dtype).numpy(),
    "format": lambda t: "?",
    "repr": lambda t: "?",
    "str": lambda t: "?",
    "contains": lambda t: False,
    "equal": lambda t: False,
    "allclose": lambda t: False,
}
# operations whose result on all-true masks is itself the assumption that later reads must agree with
_POSITIONS = frozenset({"nonzero", "argwhere", "where", "unique", "_unique2", "unique_consecutive"})
_MAX_ELEMENTS = 20_000_000
_MAX_OPS = 3_000


def _assumed(dtype: Any) -> Any:
    return False if dtype == torch.bool else (1.0 if dtype.is_floating_point else 1)


class Rescue:
    """The `rescue` of a `Recorder` that runs on fake tensors."""

    def __init__(self, fake_mode: Any, parameters: Mapping[str, Any]) -> None:
        self._fake_mode, self._parameters = fake_mode, parameters
        self._cache: dict[int, Any] = {}

    def __call__(
        self,
        recorder: Recorder,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: BaseException,
    ) -> Any:
        """The result of the operation, or the original error."""
        template = recorder.template((args, kwargs))
        for attempt in (self._for_real, self._read, self._with_integers, self._on_stand_ins):
            done, result = attempt(recorder, func, name, template, args, kwargs)
            if done:
                return result
        raise error

    def instead(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an operation whose shapes are known, or whose fake kernel is too strict; None elsewhere."""
        if name not in ("_grouped_mm", "grouped_mm"):
            return known_result(self._fake_mode, func, args, kwargs)
        x, weight = args[0], args[1]
        shape = (*x.shape[:-1], weight.shape[-1]) if weight.ndim == 3 else (1, x.shape[0], weight.shape[-1])
        with self._fake_mode:
            return torch.empty(shape, dtype=x.dtype, device=x.device)

    # ------------------------------------------------------------------ the attempts, in order
    def _for_real(
        self, recorder: Recorder, func: Any, name: str, template: Any, args: Any, kwargs: Any
    ) -> tuple[bool, Any]:
        values = self._evaluate(recorder.tape, tuple(refs_in(template)), parameters_too=name in _READS)
        if values is None:
            return False, None
        # copies: numpy() and tolist() may give the memory of the model's own tensors to code that writes
        real_args, real_kwargs = map_template(template, lambda r: _own_copy(values[r.index]))
        try:
            with _disable_current_modes():
                result = func(*real_args, **real_kwargs)
        except Exception:
            return False, None
        return True, self._fake(recorder, result, known=True)

    def _read(
        self, recorder: Recorder, func: Any, name: str, template: Any, args: Any, kwargs: Any
    ) -> tuple[bool, Any]:
        if name not in _READS:
            return False, None
        guess = _READS[name](args[0])
        maker = recorder.maker_of(args[0])
        if maker is not None and maker.name == "all":  # "if not valid.all(): raise": the check is assumed to pass
            guess = type(guess)(True)
        where = recorder.scope[-1][0] or "the model"
        recorder.tape.notes[f"{where} reads a number that depends on the parameters ({name}); assumed {guess!r}"] = None
        return True, guess

    def _with_integers(
        self, recorder: Recorder, func: Any, name: str, template: Any, args: Any, kwargs: Any
    ) -> tuple[bool, Any]:
        scalars = {
            i for i in refs_in(template) if recorder.tape.values[i].shape == () and not recorder.tape.values[i].is_float
        }
        numbers = self._evaluate(recorder.tape, tuple(scalars), parameters_too=True) if scalars else None
        if not numbers:
            return False, None
        tensors = dict(zip(refs_in(template), tensors_in([args, list(kwargs.values())]), strict=False))
        new_args, new_kwargs = map_template(
            template, lambda r: int(numbers[r.index]) if r.index in numbers else tensors[r.index]
        )
        try:
            return True, func(*new_args, **new_kwargs)
        except Exception:
            return False, None

    def _on_stand_ins(
        self, recorder: Recorder, func: Any, name: str, template: Any, args: Any, kwargs: Any
    ) -> tuple[bool, Any]:
        values = [recorder.tape.values[i] for i in refs_in(template)]
        if sum(v.numel for v in values) > _MAX_ELEMENTS:
            return False, None
        integers = {
            v.index: self._evaluate(recorder.tape, (v.index,), parameters_too=False) for v in values if not v.is_float
        }
        known = {i: found[i] for i, found in integers.items() if found}
        with _disable_current_modes():
            stand_ins = {v.index: known.get(v.index, _stand_in(v, distinct="unique" in name)) for v in values}
            real_args, real_kwargs = map_template(template, lambda r: stand_ins[r.index])
            try:
                result = func(*real_args, **real_kwargs)
            except Exception:
                return False, None
        where = recorder.scope[-1][0] or "the model"
        recorder.tape.notes[f"{where}: the result of {name} depends on numbers; its largest shape was assumed"] = None
        return True, self._fake(recorder, result, known=name in _POSITIONS)

    # ------------------------------------------------------------------ helpers
    def _fake(self, recorder: Recorder, result: Any, *, known: bool) -> Any:
        """A real result as fake tensors; their numbers are remembered where they are known."""
        if isinstance(result, torch.Tensor):
            with self._fake_mode:
                fake = torch.empty_strided(
                    tuple(result.shape), result.stride(), dtype=result.dtype, device=result.device
                )
            if known:
                recorder.known[id(fake)] = result
            return fake
        if isinstance(result, (tuple, list)):
            return tuple(self._fake(recorder, r, known=known) for r in result)
        return result

    def _evaluate(self, tape: Tape, wanted: tuple[int, ...], *, parameters_too: bool) -> dict[int, Any] | None:
        """Real numbers of values, by replaying what they depend on; None where that is impossible or too dear."""
        order = self._cone(tape, wanted, parameters_too=parameters_too)
        if order is None:
            return None
        try:
            with _disable_current_modes(), torch.no_grad():
                for index in order:
                    op = tape.ops[index]
                    self._cache.update(zip(op.outputs, run(op, lambda i: self._number(tape, i)), strict=False))
                return {i: self._number(tape, i) for i in wanted}
        except Exception:
            return None

    def _number(self, tape: Tape, index: int) -> Any:
        value = tape.values[index]
        if index in tape.data:
            return tape.data[index]
        return self._parameters[value.name] if value.kind == "parameter" else self._cache[index]

    def _known(self, tape: Tape, value: Value, *, parameters_too: bool) -> bool:
        if value.index in tape.data or value.index in self._cache:
            return True
        return parameters_too and value.kind == "parameter" and not self._parameters[value.name].is_meta

    def _cone(self, tape: Tape, wanted: tuple[int, ...], *, parameters_too: bool) -> list[int] | None:
        """The ops to replay, in order."""
        todo, ops, elements = list(wanted), set[int](), 0
        while todo:
            value = tape.values[todo.pop()]
            if self._known(tape, value, parameters_too=parameters_too):
                continue
            if value.op is None:
                return None
            if value.op not in ops:
                ops.add(value.op)
                todo += tape.ops[value.op].inputs
                elements += value.numel
            if elements > _MAX_ELEMENTS or len(ops) > _MAX_OPS:
                return None
        return sorted(ops)


def _own_copy(tensor: Any) -> Any:
    with _disable_current_modes():
        return tensor.detach().clone()


def _stand_in(value: Value, *, distinct: bool) -> Any:
    dtype = getattr(torch, value.dtype)
    if distinct:
        return torch.arange(value.numel).reshape(value.shape).to(dtype)
    return (
        torch.zeros(value.shape, dtype=dtype)
        if dtype in (torch.int64, torch.int32)
        else torch.ones(value.shape, dtype=dtype)
    )
