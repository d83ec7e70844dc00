"""One instrumented forward and backward of a model, as a record."""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from fanin.graph.recording.survivors import named_survivors
from fanin.measure.idle import never_called
from fanin.measure.jacobian import probed_jacobian
from fanin.measure.kinds import CROSS_ENTROPIES
from fanin.measure.parameters import parameter_records
from fanin.measure.passes import Pass, received, run_pass, states_after_virtual_steps
from fanin.measure.quantities.cosine import cosine
from fanin.measure.quantities.inputs import input_record
from fanin.measure.quantities.loss import LossCall, loss_record
from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.quantities.read_loss import Looked, read_from
from fanin.measure.quantities.values import buffer_records, buffers_held
from fanin.measure.record import BufferRecord, InputRecord, JacobianRecord, Measurements, Site
from fanin.measure.sampling import as_samples, is_signal
from fanin.measure.seen import captured, seen_in
from fanin.measure.task import MeasureTask
from fanin.memory import uncollected
from fanin.model.calling import input_names
from fanin.model.eager import eager, eager_module
from fanin.model.nested import refuse_nested, refuse_nested_parameters
from fanin.model.reading import read
from fanin.model.roles import Seen
from fanin.model.settings import seed_generators
from fanin.model.trees import tensors_in
from fanin.model.untouched import untouched
from fanin.model.wrappers import unwrap_children

if TYPE_CHECKING:
    from fanin.graph.ir import Graph

__all__ = ["PREDICTED_OPERATIONS", "measure", "measure_with_traces"]

PREDICTED_OPERATIONS = 2000  # about a millisecond each


def measure(task: MeasureTask) -> tuple[Measurements, dict[str, float]]:
    """Measure one forward and backward; the model is left bit for bit as found.

    Returns:
        The measurements (`missing["untouched"]` names what the forward changed for good), and seconds spent in
        "forward", "backward", "prediction" (where theory predicted) and "total".

    Raises:
        CaptureError: the model or the loss raised; the message says where, the cause is chained.
    """
    found, seconds, left = measure_with_traces(task)
    if left:
        found = replace(found, missing={**found.missing, "untouched": "; ".join(left)})
    return found, seconds


def measure_with_traces(task: MeasureTask) -> tuple[Measurements, dict[str, float], tuple[str, ...]]:
    """The same as `measure`; what the forward changed for good comes as sentences beside the measurements."""
    start = time.perf_counter()
    refuse_nested(tensors_in(task.inputs), "an input")
    task = replace(task, model=eager_module(task.model))
    refuse_nested_parameters(dict(task.model.named_parameters()))
    others = (task.inputs, task.targets, task.loss)
    done, left = untouched(task.model, lambda: _measured(task), values=True, others=others)
    found, seconds = done.found, done.seconds
    left = (*left, *done.traces, *named_survivors(done.born))
    seconds["total"] = time.perf_counter() - start
    return found, seconds, tuple(dict.fromkeys(left))


@dataclass(frozen=True, slots=True)
class _Measured:
    """What the passes gave: measurements, seconds, what the capture left behind, and the tensors of the forward."""

    found: Measurements
    seconds: dict[str, float]
    traces: tuple[str, ...]
    born: list[weakref.ref[torch.Tensor]]


def _measured(task: MeasureTask) -> _Measured:
    """The measurements, from a model that `untouched` puts back afterwards."""
    seed_generators(task.seed)
    with eager():
        unwrap_children(task.model)
        if task.training is not None:
            task.model.train(task.training)
        held = buffers_held(task.model)
        done = run_pass(task)
        after = states_after_virtual_steps(task, done) if task.virtual_step else {}
        with uncollected():  # what follows makes many small records and drops few
            graph, why_not = _captured(task, done)
            seen = {**task.seen, **({} if graph is None else seen_in(graph))}
            found = _frozen(task, done, after, seen, held)
            traces = () if graph is None else graph.traces
            found = _predicted(task, done, found, graph, why_not)
        return _Measured(found, done.seconds, traces, done.recorder.born)


def _captured(task: MeasureTask, done: Pass) -> tuple[Graph | None, str]:
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


def _predicted(task: MeasureTask, done: Pass, found: Measurements, graph: Graph | None, why_not: str) -> Measurements:
    """The measurements with what theory expects beside them, or the reason why it was not asked."""
    from fanin.measure.prediction import with_predictions

    if graph is None:
        return replace(found, missing={**found.missing, "prediction": why_not}) if why_not else found
    begun = time.perf_counter()
    copies = {p.path: p.same_as for p in found.parameters if p.same_as}
    sites, unpredicted = with_predictions(
        task.model,
        graph,
        found.sites,
        cotangents=received(done),
        outputs=done.outputs,
        along=done.along,
        copies=copies,
    )
    done.seconds["prediction"] += time.perf_counter() - begun
    return replace(found, sites=sites, missing={**found.missing, **unpredicted})


def _frozen(
    task: MeasureTask,
    done: Pass,
    after: Mapping[str, Any],
    seen: Mapping[str, Seen],
    held: Mapping[str, BufferRecord],
) -> Measurements:
    recorder = done.recorder
    sites = recorder.sites.finished(recorder.products.multiplied)
    missing = dict(done.missing)
    jacobian, missing_jacobian = _jacobian(task, done, sites)
    if missing_jacobian:
        missing["jacobian"] = missing_jacobian
    output = done.output if done.output is not None and done.output.is_floating_point() else None
    samples = None if output is None else as_samples(output, recorder.batch)
    leading = _leading_to(sites, done.ends)
    return Measurements(
        sites=sites,
        parameters=parameter_records(
            read(task.model),
            seen,
            sites,
            done.gradients,
            after,
            recorder,
            leading,
            task.first_step,
            sized=done.objective.source != "cotangent",  # such a gradient has no size of its own
        ),
        inputs=_inputs(task, done, sites),
        loss=loss_record(float(done.objective.value.detach()), done.objective.source, _loss_calls(done)),
        output=None if output is None else unpack(pack(output)),
        output_cosine=None if samples is None else cosine(samples),
        jacobian=jacobian,
        never_called=never_called(task, recorder),
        batch_size=recorder.batch,
        first_nonfinite=recorder.first_nonfinite,
        buffers=buffer_records(
            task.model,
            held,
            recorder.products.angles,
            recorder.products.factors,
            recorder.products.added_to,
        ),
        training=task.model.training,
        missing=missing,
        unregistered=done.unregistered,
    )


def _loss_calls(done: Pass) -> list[LossCall]:
    """The loss functions that were called; where a given loss calls none, what its gradients in the outputs tell."""
    called = list(done.recorder.found.get("loss", ()))
    if called or done.objective.source == "cotangent":
        return called
    received = {
        p: g for p, g in done.cotangents.items() if g is not None and (g.layout is not torch.strided or g.any())
    }
    value = done.objective.value.item() if len(received) == 1 else None
    found = []
    for path, gradient in received.items():
        output, origin = done.outputs[path], done.origins[path]
        if is_signal(output) and output.dim() and output.numel() > 1 and gradient.layout is torch.strided:
            call = read_from(Looked.at(output), Looked.at(gradient), made_by=origin.op, value=value)
            found += [] if call is None else [replace(call, sites=origin.sites)]
    return found


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


def _inputs(task: MeasureTask, done: Pass, sites: tuple[Site, ...]) -> tuple[InputRecord, ...]:
    names = input_names(task.inputs)
    gradients = iter(done.input_gradients)
    reading, by_index = done.recorder.input_readers, {s.index: s for s in sites}
    first = next((s.index for s in sites if s.kind in ("weight", "norm")), -1)
    found = []
    for name, tensor in names:
        gradient = next(gradients, None) if tensor.is_floating_point() else None
        readers = [by_index.get(i) for i in reading.readers.get(name, {first})]
        record = input_record(
            name,
            tensor.detach(),
            gradient=gradient,
            normalised_first=all(s is not None and _normalises(s) for s in readers),
            as_read=functools.partial(reading.as_read, name),
            without_scale=reading.without_scale(name),
        )
        found.append(record)
    return tuple(r for r in found if r is not None)


def _normalises(site: Site) -> bool:
    return site.kind == "norm" or site.follower in ("batch_norm", "layer_norm", "group_norm")


def _class_axis(task: MeasureTask, done: Pass) -> int | None:
    """The axis of the outputs along which a cross-entropy compares them, where only that counts; else None."""
    called = {record.op for record in done.recorder.found.get("loss", ())}
    return 1 if task.between_classes and called & CROSS_ENTROPIES else None


def _jacobian(task: MeasureTask, done: Pass, sites: tuple[Site, ...]) -> tuple[JacobianRecord | None, str]:
    """The record, or why there is none."""
    if done.accumulate:
        return None, "the model allows .backward() only (reentrant checkpointing)"
    batch = done.recorder.batch
    try:
        return probed_jacobian(
            task.model, task.inputs, batch=batch, sites=sites, seed=task.seed, classes=_class_axis(task, done)
        )
    except Exception as error:  # the model ran once, so it refuses few samples or a second run
        return None, f"a run of the first samples alone raised {type(error).__name__}: {error}"
