"""Modules with parameters that the forward never calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from fanin.measure.few_samples import fresh
from fanin.measure.recorder import PassRecorder
from fanin.measure.task import MeasureTask
from fanin.model.calling import call

__all__ = ["never_called"]


def never_called(task: MeasureTask, recorder: PassRecorder) -> tuple[str, ...]:
    """Topmost modules that own parameters, of which none was read, and in which no forward ran.

    A module that runs in evaluation is left out: in training it is skipped at random (layer drop) or on purpose.
    """
    called = {n for n, m in task.model.named_modules() if id(m) in recorder.frames.called}
    idle = _idle(task.model, {*called, *recorder.used})
    if not idle or not task.model.training:
        return idle
    return _idle(task.model, {*called, *recorder.used, *_called_in_evaluation(task)})


def _idle(model: torch.nn.Module, active: set[str]) -> tuple[str, ...]:
    above = {p for name in active for p in _prefixes(name)}
    owners = dict.fromkeys(p for name, _ in model.named_parameters() for p in _prefixes(name)[:-1])
    idle = dict.fromkeys(p for p in owners if p not in above)
    return tuple(p for p in idle if not any(a in idle for a in _prefixes(p)[:-1]))


def _prefixes(name: str) -> list[str]:
    """All heads of a dotted name, itself last."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _called_in_evaluation(task: MeasureTask) -> set[str]:
    """Names of the modules that a forward in evaluation calls; none where it raises."""
    names = {id(m): n for n, m in task.model.named_modules()}
    called = set[str]()

    def note(module: torch.nn.Module, args: object) -> None:
        called.add(names.get(id(module), ""))

    with _evaluating(task.model), torch.no_grad(), contextlib.suppress(Exception):
        handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
        try:
            call(task.model, fresh(task.inputs, False)[1])
        finally:
            handle.remove()
    return called - {""}


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and in its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
