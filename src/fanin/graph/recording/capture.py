"""Read a model's forward pass: `capture` gives its `Graph` without data, without memory and without a trace."""

from __future__ import annotations

import logging
import random
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from fanin.errors import CaptureError, FaninWarning
from fanin.graph.ir import Graph, ModuleInfo, Output, Parameter, ValueKind
from fanin.graph.recording.constants import Constants
from fanin.graph.recording.fallbacks import Rescue
from fanin.graph.recording.recorder import GapFill, Recorder, dtype_name, module_scopes
from fanin.graph.recording.survivors import forget_variables, take_out_survivors
from fanin.memory import ran_out, uncollected
from fanin.model.calling import Call, call_arguments
from fanin.model.cures import BY_ITSELF, cure_of_forward, cure_of_memory
from fanin.model.eager import eager, open_functions
from fanin.model.examples import example_calls, how_to_give_inputs
from fanin.model.first_step import MORE_VALUES, set_first_step
from fanin.model.given import assert_module
from fanin.model.nested import refuse_nested, refuse_nested_parameters
from fanin.model.sharding import without_gathering
from fanin.model.trees import map_tensors, named_tensors, tensors_in
from fanin.model.unregistered import is_trainable, leaves_behind, unregistered
from fanin.model.untouched import untouched
from fanin.model.wrappers import unwrap_children, unwrapped

__all__ = ["capture"]

_MAX_REAL_ELEMENTS = 200_000_000  # parameters that a last-resort real forward may allocate for a model on meta
Mode = Literal["auto", "fake", "real"]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one forward pass is run."""

    fake: bool = True
    grad: bool = False
    norms_train: bool = True
    gaps: bool = False
    training: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """A forward pass that ran, how many of its tensors no recorded call had made, whether it met weights of others."""

    graph: Graph
    gaps: int
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class _Failed:
    """A forward pass that raised, and the module in which it did."""

    attempt: _Attempt
    where: str
    error: Exception


def capture(model: Any, inputs: Any = None, *, mode: Mode = "auto", training: bool = False) -> Graph:
    """The forward pass of a model as a frozen `Graph`.

    The model runs once on fake tensors: no numbers are computed, nothing is allocated, and parameters may be real, fake
    or on the meta device. Dropout is off and batch norms use batch statistics, as at the first training step. Nothing
    in the model or the process changes, also when the forward pass raises.

    Args:
        model: any ``torch.nn.Module``.
        inputs: a tensor, a tuple of positional arguments, or a mapping of keyword arguments; shapes and integer values
            matter, other values do not.
        mode: "fake" never computes, "real" runs the forward pass on the given numbers, "auto" is fake with real as the
            last resort (announced by a `FaninWarning`).
        training: leave modules in the mode that they are in, so that dropout is part of the graph; where the forward
            pass decides by random numbers then (of torch, Python or NumPy), it is captured with dropout off after all.

    Raises:
        CaptureError: the forward pass fails; the message names the module and says what to do.

    Example:
        >>> import torch
        >>> g = capture(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()), torch.zeros(2, 4))
        >>> [(op.name, op.module) for op in g.ops]
        [('linear', '0'), ('relu', '1')]
        >>> g.parameters["0.weight"].shape
        (8, 4)
    """
    assert_module(model)
    model = unwrapped(model)
    parameters = dict(model.named_parameters())
    _refuse_lazy(parameters)
    refuse_nested_parameters(parameters)
    if inputs is not None:
        refuse_nested(tensors_in(inputs), "an input")
        return _capture_call(model, call_arguments(model, inputs), mode, training)
    for call in example_calls(model):
        try:
            return _capture_call(model, call, "fake" if mode == "auto" else mode, training)
        except CaptureError:  # the next candidate may be what the model takes
            continue
    raise CaptureError(how_to_give_inputs(model))


def _capture_call(model: Any, call: Call, mode: Mode, training: bool) -> Graph:
    attempt: _Attempt | None = _Attempt(fake=mode != "real", gaps=_has_script(model), training=training)
    failures: list[_Failed] = []
    while attempt is not None:
        done = _attempted(model, call, attempt)
        if isinstance(done, _Failed):
            failures.append(done)
            attempt = _next_attempt(attempt, done.error, mode, model)
        elif done.gaps and not attempt.gaps:
            attempt = replace(attempt, gaps=True)
        else:
            if mode == "auto" and not attempt.fake:
                _warn_of_real_forward(model, failures)
            graph = _with_unregistered(model, call, attempt, done)
            return replace(graph, dropout_off=True) if training and not attempt.training else graph
    raise _failure(model, call, failures)


def _with_unregistered(model: Any, call: Call, attempt: _Attempt, done: _Read) -> Graph:
    """The graph with the weights that the model does not own; only a pass that follows gradients tells them.

    A teacher under ``torch.no_grad`` is read as well, and no gradient reaches it.
    """
    if attempt.grad or not done.foreign:
        return done.graph
    again = _attempted(model, call, replace(attempt, grad=True))
    if isinstance(again, _Failed):
        return done.graph
    traces = tuple(dict.fromkeys((*done.graph.traces, *again.graph.traces)))
    return replace(done.graph, unregistered=again.graph.unregistered, traces=traces)


def _attempted(model: Any, call: Call, attempt: _Attempt) -> _Read | _Failed:
    """One forward pass, after which nothing of it is left in the model or anywhere that its code can reach."""
    done, left, born = _one_pass(model, call, attempt)
    if isinstance(done, _Failed):
        forget_variables(done.error)
    left = (*left, *take_out_survivors(born))
    if isinstance(done, _Read):
        return replace(done, graph=replace(done.graph, traces=left)) if left else done
    for sentence in left:
        warnings.warn(sentence, FaninWarning, stacklevel=5)
    return done


def _one_pass(
    model: Any, call: Call, attempt: _Attempt
) -> tuple[_Read | _Failed, tuple[str, ...], list[weakref.ref[Any]]]:
    """A forward pass; what it changed for good, in words; and its tensors, to ask later whether any is alive."""
    recorders: list[Recorder] = []

    def forward() -> Graph:
        unwrap_children(model)
        recorders.append(_recorder(model, attempt))
        before = _generators_outside_torch() if attempt.training else None
        with without_gathering(model):
            graph = _forward(model, call, attempt, recorders[0])
        if attempt.training and _generators_outside_torch() != before:
            # Dropout draws with torch; whoever draws elsewhere decides what runs (which frames are masked).
            raise RuntimeError("the forward pass decides by random numbers of Python or NumPy in training mode")
        return graph

    try:
        graph, left = untouched(model, forward, values=_has_script(model), others=call)
        foreign = any(is_trainable(t) for t, _ in recorders[0].outsiders())
        return _Read(graph, recorders[0].gaps, foreign), left, recorders[0].release()
    except Exception as error:
        where = next((r.failed_in for r in recorders), None) or ""
        return _Failed(attempt, where, error), (), [born for r in recorders for born in r.release()]


def _generators_outside_torch() -> tuple[Any, ...]:
    """States of the global generators of Python and NumPy."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return (random.getstate(),)
    name, key, *rest = numpy.random.get_state()
    return (random.getstate(), name, key.tobytes(), *rest)


def _next_attempt(attempt: _Attempt, error: Exception, mode: Mode, model: Any) -> _Attempt | None:
    message = str(error)
    if isinstance(error, CaptureError):  # something that fanin does not follow, on whatever tensors
        return None
    if attempt.training:
        return replace(attempt, training=False)
    if attempt.norms_train and MORE_VALUES in message:
        return replace(attempt, norms_train=False)
    if not attempt.grad and "grad" in message:
        return replace(attempt, grad=True)
    if attempt.fake and mode == "auto" and _affordable(model):
        return replace(attempt, fake=False, grad=False)
    return None


def _affordable(model: Any) -> bool:
    return bool(sum(p.numel() for p in model.parameters() if p.is_meta) <= _MAX_REAL_ELEMENTS)


# ---------------------------------------------------------------------- one forward pass
def _owned(model: Any, parameters: Mapping[str, Any]) -> dict[int, tuple[ValueKind, str]]:
    owned: dict[int, tuple[ValueKind, str]] = {id(b): ("buffer", n) for n, b in model.named_buffers()}
    return owned | {id(p): ("parameter", n) for n, p in parameters.items()}


def _recorder(model: Any, attempt: _Attempt) -> Recorder:
    parameters = dict(model.named_parameters())
    owned = _owned(model, parameters)
    if not attempt.fake:
        return Recorder(stand_in=_real_stand_in, owned=owned)
    fake_mode, constants = FakeTensorMode(allow_non_fake_inputs=True), Constants()
    device = next((p.device for p in parameters.values() if not p.is_meta), torch.device("cpu"))
    recorder = Recorder(
        stand_in=_fake_stand_in(fake_mode, constants, device, attempt.grad),
        owned=owned,
        rescue=Rescue(fake_mode, parameters),
        constants=constants,
    )
    recorder.fake_mode = fake_mode
    return recorder


def _fake_stand_in(fake_mode: Any, constants: Constants, device: Any, grad: bool) -> Any:
    def stand_in(tensor: Any, kind: str) -> Any:
        if kind == "constant" and (copy := constants.stand_in(tensor)) is not None:
            return copy
        where = device if tensor.is_meta else tensor.device
        if tensor.layout is not torch.strided:
            with fake_mode:
                return fake_mode.from_tensor(tensor)
        with unset_fake_temporarily():  # made in the mode it would take five times as long
            empty = torch.empty_strided(tuple(tensor.shape), tensor.stride(), dtype=tensor.dtype, device="meta")
            fake = FakeTensor(fake_mode, empty, where)
        return fake.requires_grad_() if grad and tensor.requires_grad else fake

    return stand_in


def _real_stand_in(tensor: Any, kind: str) -> Any:
    if tensor.is_meta:
        filled = torch.zeros(tuple(tensor.shape), dtype=tensor.dtype)
        return filled.normal_(std=0.02) if filled.is_floating_point() else filled
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)  # some models write into their own parameters


def _forward(model: Any, call: Call, attempt: _Attempt, recorder: Recorder) -> Graph:
    paths = {id(m): path for path, m in reversed(list(model.named_modules()))}
    named = list(model.named_parameters(remove_duplicate=False))  # as it is now: the forward may replace some
    set_first_step(model, norms_train=attempt.norms_train, others=not attempt.training)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(attempt.grad))
        stack.enter_context(open_functions())
        stack.enter_context(eager())
        stack.enter_context(_quiet())
        stack.enter_context(uncollected())
        if recorder.fake_mode is not None:
            stack.enter_context(recorder.fake_mode)
        for name, parameter in named:
            recorder.add_leaf(parameter, "parameter", name)  # once, by the first of its names
        args, kwargs = map_tensors(call, lambda t, path: recorder.add_leaf(t, "input", path.partition(".")[2]))
        for handle in module_scopes(recorder, paths):
            stack.callback(handle.remove)
        if attempt.gaps:
            stack.enter_context(GapFill(recorder))
        stack.enter_context(recorder)
        result = model(*args, **kwargs)
    return _graph(model, recorder, named, result, "fake" if attempt.fake else "real")


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch logs each fake kernel that refuses; the rescue deals with those."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


# ---------------------------------------------------------------------- the result
def _graph(
    model: Any, recorder: Recorder, named: list[tuple[str, Any]], result: Any, mode: Literal["fake", "real"]
) -> Graph:
    tape = recorder.tape
    returned = {path: recorder.swap(t) for path, t in named_tensors(result)}
    outputs = tuple(Output(path=path, value=recorder.ref(t).index) for path, t in returned.items())
    reached = {id(t) for t in leaves_behind(returned.values())}
    foreign = [t for t, stand_in in recorder.outsiders() if id(stand_in) in reached and is_trainable(t)]
    calls: dict[str, int] = {}
    for op in tape.ops:
        for path, call in op.scope:
            calls[path] = max(calls.get(path, 0), call + 1)
    return Graph(
        model=type(model).__name__,
        ops=tuple(tape.ops),
        values=tuple(tape.values),
        parameters=_parameters(named, recorder),
        modules={p: _module_info(p, m, calls.get(p, 0)) for p, m in model.named_modules()},
        inputs=tuple(v.index for v in tape.values if v.kind == "input"),
        outputs=outputs,
        mode=mode,
        notes=tuple(tape.notes),
        unregistered=unregistered(model, foreign),
        data=tape.data,
    )


def _parameters(named: list[tuple[str, Any]], recorder: Recorder) -> Mapping[str, Parameter]:
    names: dict[int, list[str]] = {}
    tensors: dict[int, Any] = {}
    for name, p in named:
        names.setdefault(id(p), []).append(name)
        tensors[id(p)] = p
    return {
        known[0]: Parameter(
            name=known[0],
            aliases=tuple(known[1:]),
            shape=tuple(tensors[key].shape),
            dtype=dtype_name(tensors[key]),
            value=recorder.leaf_index(tensors[key]),
            requires_grad=tensors[key].requires_grad,
        )
        for key, known in names.items()
    }


def _module_info(path: str, module: Any, calls: int) -> ModuleInfo:
    plain = (bool, int, float, str, type(None))
    settings = {
        k: v
        for k, v in vars(module).items()
        if not k.startswith("_")
        and (isinstance(v, plain) or (isinstance(v, (tuple, list)) and all(isinstance(i, plain) for i in v)))
    }
    return ModuleInfo(path=path, class_name=type(module).__name__, calls=calls, settings=settings)


# ---------------------------------------------------------------------- words for what went wrong
def _has_script(model: Any) -> bool:
    return any(isinstance(m, torch.jit.ScriptModule) for m in model.modules())


def _refuse_lazy(parameters: Mapping[str, Any]) -> None:
    lazy = [n for n, p in parameters.items() if torch.nn.parameter.is_lazy(p)]
    if lazy:
        raise CaptureError(
            f"parameters {', '.join(lazy[:3])}{' ...' if len(lazy) > 3 else ''} have no shape yet (lazy modules). A "
            f"model is read once its "
            "shapes exist: run model(*inputs) once on any batch, then capture it."
        )


def _failure(model: Any, call: Call, failures: list[_Failed]) -> CaptureError:
    where, error = failures[-1].where, failures[-1].error
    first_error = failures[0].error
    if isinstance(error, CaptureError):
        return error
    place = f"in module '{where}' ({_class_at(model, where)})" if where else f"in {type(model).__name__}.forward"
    if ran_out(error):
        raised = CaptureError(cure_of_memory(where))
        raised.__cause__ = error
        return raised
    args, kwargs = call
    cure = cure_of_forward(
        model, kwargs or (args[0] if len(args) == 1 else args), dict(model.named_modules()).get(where, model)
    )
    told = cure != BY_ITSELF or str(first_error) == str(error)  # what fake tensors said adds nothing then
    first = "" if told else f" (on fake tensors: {first_error!s:.200})"
    raised = CaptureError(
        f"the forward pass of {type(model).__name__} fails {place}: {type(error).__name__}: {error}{first}. {cure}"
    )
    raised.__cause__ = error
    return raised


def _class_at(model: Any, path: str) -> str:
    modules = dict(model.named_modules())
    return type(modules[path]).__name__ if path in modules else "made during the forward pass"


def _warn_of_real_forward(model: Any, failures: list[_Failed]) -> None:
    where, error = failures[0].where, failures[0].error
    warnings.warn(
        f"{type(model).__name__} could not be read on fake tensors ({where or 'forward'}: {type(error).__name__}: "
        f"{error!s:.200}); "
        "a real forward pass was run instead. To avoid it, pass mode='fake' and change what the message names.",
        FaninWarning,
        stacklevel=4,
    )
