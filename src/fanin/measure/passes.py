"""Passes through the model: the instrumented one, and plain ones of the virtual step."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fanin.errors import ArgumentError, CaptureError, sentence
from fanin.measure.few_samples import enough_samples, first_samples, fresh
from fanin.measure.objective import Objective, objective, primary
from fanin.measure.origins import Origin
from fanin.measure.recorder import PassRecorder
from fanin.measure.task import MeasureTask
from fanin.measure.virtual_step import states_after_steps
from fanin.memory import ran_out
from fanin.model.calling import call, input_names
from fanin.model.cures import are_of_wrong_kind, cure_of_forward, cure_of_loss, cure_of_memory
from fanin.model.trees import named_tensors, tensors_in
from fanin.model.unregistered import Unregistered, leaves_behind, unregistered

__all__ = ["Pass", "batch_size", "received", "run_pass", "states_after_virtual_steps"]

Gradients = dict[str, torch.Tensor | None]


@dataclass(slots=True)
class Pass:
    """What one pass gave.

    Attributes:
        recorder: what it saw.
        objective: the number that was differentiated.
        gradients: of the parameters, by name; None where none arrived.
        input_gradients: of the floating inputs that were asked for one, in order.
        output: the tensor that a loss is computed from.
        accumulate: the model allows `.backward()` only.
        ends: the sites that the objective and values outside torch are made of.
        cotangents: gradient at every output, by its path in what the model returned.
        outputs: the numbers there, by the same path.
        origins: of each of them, by the same path: the sites nearest before it, and the operation that made it.
        along: how far that gradient is a multiple of the output itself, by the same path: E (g . y)^2 / E |g|^2 over
            rows, less E y^2.
        seconds: spent, by part.
        missing: quantity -> why it could not be measured.
        unregistered: weights that the outputs depend on and the model does not own.
    """

    recorder: PassRecorder
    objective: Objective
    gradients: Gradients
    input_gradients: list[torch.Tensor | None]
    output: torch.Tensor | None
    accumulate: bool = False
    ends: tuple[int, ...] = ()
    cotangents: dict[str, torch.Tensor | None] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    along: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unregistered: tuple[Unregistered, ...] = ()


def run_pass(task: MeasureTask) -> Pass:
    """Run the pass; if the model refuses input gradients or needs `.backward()`, run it again without them.

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


def _attempt(task: MeasureTask, *, inputs_need_grad: bool, accumulate: bool) -> Pass:
    leaves, inputs = fresh(task.inputs, inputs_need_grad)
    recorder = PassRecorder(task.model, batch=batch_size(inputs))
    for name, tensor in input_names(inputs):
        recorder.origins[tensor] = Origin(data=True, sites=(-1,), inputs=frozenset((name,)))
    with torch.enable_grad():
        begun = time.perf_counter()
        output, target = _forward(task, recorder, inputs)
        middle = time.perf_counter()
        result = Pass(recorder, target, {}, [], _kept(primary(output)), accumulate=accumulate)
        for end in (target.value, primary(output)):
            recorder.input_readers.ended(recorder.origins[end].inputs)
        found = recorder.origins[target.value].sites or recorder.origins[primary(output)].sites
        result.ends = (*found, *recorder.escaped)
        _watch(output, result)
        result.unregistered = _unregistered(task, output, leaves)
        del output
        _backward(task, result, leaves)
    result.seconds = {"forward": middle - begun, "backward": time.perf_counter() - middle}
    return result


def _unregistered(task: MeasureTask, output: Any, inputs: list[torch.Tensor]) -> tuple[Unregistered, ...]:
    """Weights that the outputs depend on and neither the model nor its optimizer holds."""
    known = {*map(id, inputs), *task.optimized}
    leaves = leaves_behind(_differentiable(output).values())
    return unregistered(task.model, [t for t in leaves if id(t) not in known])


def _watch(output: Any, result: Pass) -> None:
    """Keep the loss' gradient at every output.

    The virtual step sends it back again through fewer samples, and the backward prediction starts from it. The hook
    knows the gradients alone: torch keeps it with the graph, which would keep the whole pass, which keeps the graph.
    """
    cotangents, along = result.cotangents, result.along
    for path, tensor in _differentiable(output).items():
        cotangents[path], own = None, tensor.detach()
        result.outputs[path] = own
        result.origins[path] = result.recorder.origins[tensor]

        def keep(gradient: torch.Tensor, path: str = path, own: torch.Tensor = own) -> None:
            cotangents[path] = gradient.detach()
            along[path] = _along_output(gradient.detach(), own)

        tensor.register_hook(keep)  # type: ignore[no-untyped-call]


def _along_output(gradient: torch.Tensor, output: torch.Tensor) -> float:
    """E (g . y)^2 / E |g|^2 over rows of the last dimension, less E y^2, which is that of an independent gradient."""
    if not output.dim() or output.shape[-1] < 2 or gradient.shape != output.shape or not gradient.is_floating_point():
        return 0.0
    g, y = _dense_or_same(gradient).double(), output.double()
    along = float((g * y).sum(-1).square().sum() / g.square().sum().clamp_min(1e-300) - y.square().mean())
    return max(along, 0.0) if math.isfinite(along) else 0.0


def _dense_or_same(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _kept(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.detach()


def batch_size(inputs: Any) -> int | None:
    """Number of samples in a batch, by the first tensor that has axes; None if none has.

    Raises:
        ArgumentError: the batch is empty.
    """
    first = next((t for t in tensors_in(inputs) if t.dim() > 0), None)
    if first is not None and first.shape[0] == 0:
        raise ArgumentError(f"the batch is empty: an input has shape {tuple(first.shape)}. Give at least two samples.")
    return None if first is None else first.shape[0]


def _forward(task: MeasureTask, recorder: PassRecorder, inputs: Any) -> tuple[Any, Objective]:
    with recorder.recording():
        try:
            output = call(task.model, inputs)
        except RuntimeError as error:
            if "requires grad" in str(error) or isinstance(error, CaptureError):
                raise
            raise _failed(task, recorder, error) from error
        except CaptureError:
            raise
        except (Exception, SystemExit) as error:
            raise _failed(task, recorder, error) from error
        try:
            return output, objective(output, targets=task.targets, loss=task.loss)
        except ArgumentError:
            raise
        except (Exception, SystemExit) as error:
            cure = cure_of_loss(output, task.targets, task.loss)
            raise CaptureError(f"the loss raised {type(error).__name__}: {sentence(str(error))} {cure}") from error


def _failed(task: MeasureTask, recorder: PassRecorder, error: BaseException) -> CaptureError:
    place = recorder.frames.where
    if ran_out(error):
        return CaptureError(f"{cure_of_memory(place)} The model is as it was.")
    given = (task.model, task.inputs, recorder.frames.innermost)
    raised = CaptureError(
        f"the forward raised {type(error).__name__} in {place or 'the model itself'}: {error}. "
        f"{cure_of_forward(*given)} The model is as it was."
    )
    raised.inputs_at_fault = are_of_wrong_kind(*given)
    return raised


def _backward(task: MeasureTask, result: Pass, leaves: list[torch.Tensor]) -> None:
    named = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    value = result.objective.value
    wanted = [*named.values(), *leaves]
    if not value.requires_grad or not wanted:
        result.missing["gradients"] = "the loss depends on no parameter and no input that asks for a gradient"
        result.gradients, result.input_gradients = dict.fromkeys(named), [None] * len(leaves)
        return
    with result.recorder.replaying():
        gradients = _gradients(value, wanted, result)
    result.gradients = dict(zip(named, gradients[: len(named)], strict=True))
    result.input_gradients = gradients[len(named) :]


def _gradients(value: torch.Tensor, wanted: list[torch.Tensor], done: Pass) -> list[torch.Tensor | None]:
    """Gradients without writing `.grad`; where the pass accumulates, through `.grad`, which gets back what it held.

    Where the pass met a tensor that was computed before, its graph is the caller's, who may want a backward of it.
    """
    keep = done.recorder.reads_older_graph
    if not done.accumulate:
        return [_dense(g) for g in torch.autograd.grad(value, wanted, retain_graph=keep, allow_unused=True)]
    kept = [(w, w.grad) for w in wanted]
    try:
        for w in wanted:
            w.grad = None
        # Not value.backward(): that would pass through the function mode, which sees nothing of what it is in itself.
        torch.autograd.backward([value], retain_graph=keep)
        return [_dense(w.grad) for w in wanted]
    finally:
        for w, grad in kept:
            w.grad = grad


def states_after_virtual_steps(task: MeasureTask, done: Pass) -> dict[str, Any]:
    """States of zero gradients after virtual steps: on a few samples, then on the whole batch if some stay zero."""
    if "gradients" in done.missing:
        return {}
    few = _few_samples(task, done)
    if few is not None:
        inputs, cotangents = few
        with contextlib.suppress(Exception):  # the model refuses to run with so few
            states = states_after_steps(task.model, done.gradients, lambda: _again(task, inputs, cotangents, done))
            if "zero" not in states.values():
                return states
    return states_after_steps(task.model, done.gradients, lambda: _again(task, task.inputs, None, done))


def _again(task: MeasureTask, inputs: Any, cotangents: Mapping[str, torch.Tensor] | None, done: Pass) -> Gradients:
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
        return dict(zip(named, _gradients(value, list(named.values()), done), strict=True))


def _few_samples(task: MeasureTask, done: Pass) -> tuple[Any, dict[str, torch.Tensor]] | None:
    """The first few samples and the loss' gradient at their outputs.

    None where the batch is small or is not axis 0 everywhere.
    """
    batch, cotangents = done.recorder.batch or 0, received(done)
    norms = (s.measured.get("norm") for s in done.recorder.sites)
    few = enough_samples(norms, batch, least=max(1, batch // 32))
    if batch < 2 * few or not cotangents or len(cotangents) < len(done.cotangents):
        return None
    if any(not c.dim() or c.shape[0] != batch for c in cotangents.values()):
        return None
    inputs = first_samples(task.inputs, batch, few)
    return None if inputs is None else (inputs, {path: c[:few] for path, c in cotangents.items()})


def received(done: Pass) -> dict[str, torch.Tensor]:
    """The gradient that each output received, of those that received any."""
    return {path: c for path, c in done.cotangents.items() if c is not None}


def _differentiable(output: Any) -> dict[str, torch.Tensor]:
    """Outputs that a gradient may reach, by their path in what the model returned."""
    return {path: t for path, t in named_tensors(output) if t.requires_grad}


def _dense(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """A gradient with all its zeros: that of an ``Embedding(sparse=True)`` holds only the rows that were read."""
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
