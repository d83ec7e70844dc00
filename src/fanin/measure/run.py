"""One instrumented forward and backward of a model, as a record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from fanin.errors import ArgumentError, CaptureError
from fanin.measure.few_samples import enough_samples, first_samples, fresh, probed_jacobian
from fanin.measure.objective import Objective, objective, primary
from fanin.measure.origins import Origin
from fanin.measure.parameters import parameter_records
from fanin.measure.quantities.cosine import cosine
from fanin.measure.quantities.inputs import input_record
from fanin.measure.quantities.loss import loss_record
from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.quantities.values import buffer_records
from fanin.measure.record import InputRecord, JacobianRecord, Measurements, Site
from fanin.measure.recorder import Recorder
from fanin.measure.sampling import as_samples
from fanin.measure.seen import captured, seen_in
from fanin.measure.virtual_step import states_after_steps
from fanin.model.calling import call, input_names
from fanin.model.eager import eager, eager_module
from fanin.model.reading import read
from fanin.model.roles import Seen
from fanin.model.snapshot import untouched
from fanin.model.trees import named_tensors, tensors_in
from fanin.model.wrappers import unwrap_children

if TYPE_CHECKING:
    from fanin.graph.ir import Graph

__all__ = ["PREDICTED_OPERATIONS", "Task", "measure"]

PREDICTED_OPERATIONS = 2000  # about a millisecond each

Gradients = dict[str, torch.Tensor | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is run: the model on inputs, against targets or a loss, from a seed.

    `predict` None: the forward is captured and theory is asked unless it makes more than 2,000 operations. `seen`: what
    an earlier check of the same model knew of its parameters, where nothing is captured.
    """

    model: torch.nn.Module
    inputs: Any
    targets: Any = None
    loss: Callable[..., Any] | None = None
    seed: int = 0
    virtual_step: bool = True
    training: bool | None = None
    predict: bool | None = None
    seen: Mapping[str, Seen] = field(default_factory=dict)


@dataclass(slots=True)
class _Pass:
    """Everything that one pass gave, before it is frozen."""

    recorder: Recorder
    objective: Objective
    gradients: Gradients
    input_gradients: list[torch.Tensor | None]
    output: torch.Tensor | None
    accumulate: bool = False
    ends: tuple[int, ...] = ()
    cotangents: dict[str, torch.Tensor | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def measure(task: Task) -> tuple[Measurements, dict[str, float]]:
    """Measure one forward and backward; the model is left bit for bit as found.

    Returns:
        The measurements, and seconds spent in "forward", "backward", "prediction" (where theory was asked) and "total".

    Raises:
        CaptureError: the model or the loss raised; the message says where, the cause is chained.
    """
    start = time.perf_counter()
    model = eager_module(task.model)
    replace_task = replace(task, model=model)
    with untouched(model, seed=task.seed), eager():
        unwrap_children(model)
        if task.training is not None:
            model.train(task.training)
        done = _run(replace_task)
        after = _virtual_step(replace_task, done) if task.virtual_step else {}
        graph, why_not = _captured(replace_task, done)
        seen = {**task.seen, **({} if graph is None else seen_in(graph))}
        found = _frozen(replace_task, done, after, seen)
        found = _predicted(replace_task, done, found, graph, why_not)
    done.seconds["total"] = time.perf_counter() - start
    return found, done.seconds


def _captured(task: Task, done: _Pass) -> tuple[Graph | None, str]:
    """The forward pass as a graph, or the reason why there is none; "" where none was asked for."""
    num = done.recorder.num_operations
    if task.predict is False:
        return None, ""
    if task.predict is None and num > PREDICTED_OPERATIONS:
        most = f"{PREDICTED_OPERATIONS:,}"
        return None, f"the forward calls torch {num:,} times; theory follows {most} calls unless asked to"
    begun = time.perf_counter()
    try:
        return captured(task.model, task.inputs)
    finally:
        done.seconds["prediction"] = time.perf_counter() - begun


def _predicted(task: Task, done: _Pass, found: Measurements, graph: Graph | None, why_not: str) -> Measurements:
    """The measurements with what theory expects beside them, or the reason why it was not asked."""
    from fanin.measure.prediction import with_predictions

    if graph is None:
        return replace(found, missing={**found.missing, "prediction": why_not}) if why_not else found
    begun = time.perf_counter()
    copies = any(p.same_as for p in found.parameters)
    sites, reason = with_predictions(task.model, graph, found.sites, cotangents=_received(done), copies=copies)
    done.seconds["prediction"] += time.perf_counter() - begun
    missing = {**found.missing, "prediction": reason} if reason else found.missing
    return replace(found, sites=sites, missing=missing)


def _run(task: Task) -> _Pass:
    """The pass, and again in a plainer way where the model does not bear it.

    Inputs are asked for a gradient only where parameters are frozen: it is what carries gradients through those, and
    it costs as much as the first layer's forward.
    """
    need_grad, accumulate = not all(p.requires_grad for p in task.model.parameters()), False
    while True:
        try:
            return _attempt(task, inputs_need_grad=need_grad, accumulate=accumulate)
        except RuntimeError as error:
            if need_grad and "requires grad" in str(error):
                need_grad = False
            elif not accumulate and "checkpoint" in str(error).lower():
                accumulate = True  # reentrant checkpointing allows .backward() only
            else:
                raise


def _attempt(task: Task, *, inputs_need_grad: bool, accumulate: bool) -> _Pass:
    leaves, inputs = fresh(task.inputs, inputs_need_grad)
    recorder = Recorder(task.model, batch=_batch_size(inputs))
    for tensor in tensors_in(inputs):
        recorder.origins[tensor] = Origin(data=True, sites=(-1,))
    with torch.enable_grad():
        begun = time.perf_counter()
        output, target = _forward(task, recorder, inputs)
        middle = time.perf_counter()
        result = _Pass(recorder, target, {}, [], _kept(primary(output)), accumulate=accumulate)
        found = recorder.origins[target.value].sites or recorder.origins[primary(output)].sites
        result.ends = (*found, *recorder.escaped)
        _watch(output, result)
        del output
        _backward(task, result, leaves)
    result.seconds = {"forward": middle - begun, "backward": time.perf_counter() - middle}
    return result


def _watch(output: Any, result: _Pass) -> None:
    """Keep the loss' gradient at every output.

    The virtual step sends it back again through fewer samples, and the backward prediction starts from it.
    """
    for path, tensor in _differentiable(output).items():
        result.cotangents[path] = None

        def keep(gradient: torch.Tensor, path: str = path) -> None:
            result.cotangents[path] = gradient.detach()

        tensor.register_hook(keep)  # type: ignore[no-untyped-call]


def _kept(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.detach()


def _batch_size(inputs: Any) -> int | None:
    first = next((t for t in tensors_in(inputs) if t.dim() > 0), None)
    if first is not None and first.shape[0] == 0:
        raise ArgumentError(f"the batch is empty: an input has shape {tuple(first.shape)}. Give at least two samples.")
    return None if first is None else first.shape[0]


def _forward(task: Task, recorder: Recorder, inputs: Any) -> tuple[Any, Objective]:
    with recorder.recording():
        try:
            output = call(task.model, inputs)
        except RuntimeError as error:
            if "requires grad" in str(error):
                raise
            raise _failed("the forward", recorder, error) from error
        except (Exception, SystemExit) as error:
            raise _failed("the forward", recorder, error) from error
        try:
            return output, objective(output, targets=task.targets, loss=task.loss)
        except ArgumentError:
            raise
        except (Exception, SystemExit) as error:
            raise _failed("the loss", recorder, error) from error


def _failed(what: str, recorder: Recorder, error: BaseException) -> CaptureError:
    where = recorder.frames.where or "the model itself"
    return CaptureError(
        f"{what} raised {type(error).__name__} in {where}: {error}. A check needs one forward that runs: try "
        "model(*inputs) by itself; the model is as it was."
    )


def _backward(task: Task, result: _Pass, leaves: list[torch.Tensor]) -> None:
    named = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    value = result.objective.value
    wanted = [*named.values(), *leaves]
    if not value.requires_grad or not wanted:
        result.missing["gradients"] = "the loss depends on no parameter and no input that asks for a gradient"
        result.gradients, result.input_gradients = dict.fromkeys(named), [None] * len(leaves)
        return
    with result.recorder.replaying():
        gradients = _gradients(value, wanted, accumulate=result.accumulate)
    result.gradients = dict(zip(named, gradients[: len(named)], strict=True))
    result.input_gradients = gradients[len(named) :]


def _gradients(value: torch.Tensor, wanted: list[torch.Tensor], *, accumulate: bool) -> list[torch.Tensor | None]:
    """Gradients without touching `.grad`, or through it with what it held put aside and back."""
    if not accumulate:
        return list(torch.autograd.grad(value, wanted, allow_unused=True))
    kept = [(w, w.grad) for w in wanted]
    try:
        for w in wanted:
            w.grad = None
        # Not value.backward(): that would pass through the function mode, which sees nothing of what it is in itself.
        torch.autograd.backward([value])
        return [w.grad for w in wanted]
    finally:
        for w, grad in kept:
            w.grad = grad


def _virtual_step(task: Task, done: _Pass) -> dict[str, Any]:
    """States of zero gradients after virtual steps.

    On a few samples first and on the whole batch where those stay closed.
    """
    if "gradients" in done.missing:
        return {}
    few = _few_samples(task, done)
    if few is not None:
        inputs, cotangents = few
        with contextlib.suppress(Exception):  # what the model does not bear is to be run with so few
            states = states_after_steps(
                task.model, done.gradients, lambda: _again(task, inputs, cotangents, done.accumulate)
            )
            if "zero" not in states.values():
                return states
    return states_after_steps(task.model, done.gradients, lambda: _again(task, task.inputs, None, done.accumulate))


def _again(task: Task, inputs: Any, cotangents: Mapping[str, torch.Tensor] | None, accumulate: bool) -> Gradients:
    """Gradients of a second pass without instruments: of the loss, or of fixed cotangents on the outputs."""
    torch.default_generator.manual_seed(task.seed)
    _, copies = fresh(inputs, False)
    named = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        output = call(task.model, copies)
        if cotangents is None:
            value = objective(output, targets=task.targets, loss=task.loss).value
        else:
            outputs = _differentiable(output)
            value = torch.stack([(outputs[p].double() * c.double()).sum() for p, c in cotangents.items()]).sum()
        return dict(zip(named, _gradients(value, list(named.values()), accumulate=accumulate), strict=True))


def _few_samples(task: Task, done: _Pass) -> tuple[Any, dict[str, torch.Tensor]] | None:
    """The first few samples and the loss' gradient at their outputs.

    None where the batch is small or is not axis 0 everywhere.
    """
    batch, cotangents = done.recorder.batch or 0, _received(done)
    norms = (s.measured.get("norm") for s in done.recorder.sites)
    few = enough_samples(norms, batch, least=max(1, batch // 32))
    if batch < 2 * few or not cotangents or len(cotangents) < len(done.cotangents):
        return None
    if any(not c.dim() or c.shape[0] != batch for c in cotangents.values()):
        return None
    inputs = first_samples(task.inputs, batch, few)
    return None if inputs is None else (inputs, {path: c[:few] for path, c in cotangents.items()})


def _received(done: _Pass) -> dict[str, torch.Tensor]:
    """The gradient that each output received, of those that received any."""
    return {path: c for path, c in done.cotangents.items() if c is not None}


def _differentiable(output: Any) -> dict[str, torch.Tensor]:
    """Outputs that a gradient may reach, by their path in what the model returned."""
    return {path: t for path, t in named_tensors(output) if t.requires_grad}


def _frozen(task: Task, done: _Pass, after: Mapping[str, Any], seen: Mapping[str, Seen]) -> Measurements:
    recorder = done.recorder
    sites = recorder.sites.finished(recorder.products.multiplied)
    missing = dict(done.missing)
    jacobian, missing_jacobian = _jacobian(task, done, sites)
    if missing_jacobian:
        missing["jacobian"] = missing_jacobian
    output = done.output if done.output is not None and done.output.is_floating_point() else None
    samples = None if output is None else as_samples(output, recorder.batch)
    return Measurements(
        sites=sites,
        parameters=parameter_records(
            read(task.model), seen, sites, done.gradients, after, recorder, _leading_to(sites, done.ends)
        ),
        inputs=_inputs(task, done, sites),
        loss=loss_record(float(done.objective.value.detach()), done.objective.source, recorder.found.get("loss", ())),
        output=None if output is None else unpack(pack(output)),
        output_cosine=None if samples is None else cosine(samples),
        jacobian=jacobian,
        never_called=_never_called(task.model, recorder),
        batch_size=recorder.batch,
        first_nonfinite=recorder.first_nonfinite,
        buffers=buffer_records(task.model.named_buffers(), recorder.products.angles, recorder.products.factors),
        training=task.model.training,
        missing=missing,
    )


def _leading_to(sites: tuple[Site, ...], ends: tuple[int, ...]) -> set[int]:
    """Indices of the sites that lead to these."""
    parents = {s.index: s.inputs for s in sites}
    seen: set[int] = set()
    todo = list(ends)
    while todo:
        index = todo.pop()
        if index not in seen:
            seen.add(index)
            todo.extend(parents.get(index, ()))
    return seen


def _inputs(task: Task, done: _Pass, sites: tuple[Site, ...]) -> tuple[InputRecord, ...]:
    names = input_names(task.inputs)
    gradients = iter(done.input_gradients)
    first = next((s for s in sites if s.kind in ("weight", "norm")), None)
    normalised = first is not None and (
        first.kind == "norm" or first.follower in ("batch_norm", "layer_norm", "group_norm")
    )
    found = []
    for name, tensor in names:
        gradient = next(gradients, None) if tensor.is_floating_point() else None
        found.append(input_record(name, tensor.detach(), gradient=gradient, normalised_first=normalised))
    return tuple(r for r in found if r is not None)


def _jacobian(task: Task, done: _Pass, sites: tuple[Site, ...]) -> tuple[JacobianRecord | None, str]:
    """The record, or why there is none."""
    if done.accumulate:
        return None, "the model allows .backward() only (reentrant checkpointing)"
    batch = done.recorder.batch
    try:
        return probed_jacobian(task.model, task.inputs, batch=batch, sites=sites, seed=task.seed)
    except Exception as error:  # the model ran once; what it does not bear is a few samples, or a second run
        return None, f"a run of the first samples alone raised {type(error).__name__}: {error}"


def _never_called(model: torch.nn.Module, recorder: Recorder) -> tuple[str, ...]:
    """Topmost modules that own parameters, of which none was read, and in which no forward ran."""
    active: set[str] = set()
    for name in (*(n for n, m in model.named_modules() if id(m) in recorder.frames.called), *recorder.used):
        active.update(_prefixes(name))
    owners = dict.fromkeys(p for name, _ in model.named_parameters() for p in _prefixes(name)[:-1])
    idle = dict.fromkeys(p for p in owners if p not in active)
    return tuple(p for p in idle if not any(a in idle for a in _prefixes(p)[:-1]))


def _prefixes(name: str) -> list[str]:
    """All heads of a dotted name, itself last."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
