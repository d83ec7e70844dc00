"""What makes two comparisons the same experiment, as plain data: models, first batches, inits, loss, optimizer."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fanin.lab.training import call, make_optimizer, one_thread
from fanin.memory import as_array
from fanin.text.jsonable import jsonable

if TYPE_CHECKING:
    from fanin.lab.compare import Task

__all__ = ["digest", "identity", "named"]

_LR = 1e-3  # any: learning rates are part of each run's own name


def identity(
    tasks: Sequence[Task], inits: Mapping[str, Any], seeds: Sequence[int], *, optimizer: Any, steps: int
) -> dict[str, Any]:
    """What all runs of an experiment have in common: words for a reader -> plain values.

    Runs of another model, other data, another law under the same name, another loss or optimizer differ in one of
    them. More seeds, inits or tasks add entries and change none.

    Args:
        tasks: models with data and loss; each model is built twice, and the first batch of each seed is drawn.
        inits: as in `fanin.compare`.
        seeds: which.
        optimizer: its name, or a callable of (parameters, learning rate).
        steps: updates of each run.
    """
    found: dict[str, Any] = {"steps": steps}
    for name, init in inits.items():
        found[f"init {name}"] = described(init)
    with one_thread(), torch.random.fork_rng(devices=[]):
        for task in tasks:
            found |= {f"{what} of {task.name}": value for what, value in _of_task(task, seeds, optimizer).items()}
    plain: dict[str, Any] = jsonable(found)
    return plain


def described(init: Any) -> Any:
    """An init as plain data: its dict where it has one, else its name."""
    if init is None or isinstance(init, str):
        return init
    if hasattr(init, "to_dict"):
        data = init.to_dict()
        return {"plan": digest(repr(data))} if hasattr(init, "apply_") else data
    return named(init)


def named(thing: Any) -> str:
    """The qualified name of a function, a class or a callable object; of a partial one with what it holds.

    Example:
        >>> named(nn.functional.cross_entropy)
        'torch.nn.functional.cross_entropy'
    """
    if isinstance(thing, str):
        return thing
    if isinstance(thing, functools.partial):
        held = [digest(v) for v in (*thing.args, *thing.keywords.values())]
        return f"{named(thing.func)}({', '.join(held)})"
    owner = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{owner.__module__}.{owner.__qualname__}"


def digest(value: Any) -> str:
    """Sixteen characters that tell values apart: tensors and arrays by their bytes, texts and numbers by themselves.

    Example:
        >>> digest(torch.zeros(2)) == digest(torch.zeros(2)), digest(torch.zeros(2)) == digest(torch.zeros(1, 2))
        (True, False)
    """
    state = hashlib.blake2b(digest_size=8)
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        state.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        if value.device.type != "meta" and value.layout == torch.strided:
            state.update(as_array(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)).tobytes())
    elif isinstance(value, Mapping):
        for key in value:
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"list {len(value)}".encode())
        for entry in value:
            _feed(state, entry)
    elif hasattr(value, "__array__") and hasattr(value, "tobytes"):
        state.update(f"array {value.dtype} {value.shape}".encode())
        state.update(value.tobytes())
    elif value is None or isinstance(value, bool | int | float | str):
        state.update(repr(value).encode("utf-8", "backslashreplace"))
    else:
        state.update(named(value).encode())


# ------------------------------------------------------------------ of one task
def _of_task(task: Task, seeds: Sequence[int], optimizer: Any) -> dict[str, Any]:
    first = {seed: next(iter(task.batches(seed))) for seed in seeds}
    again = next(iter(task.batches(seeds[0])))
    model = _built(task, seeds[0])
    found: dict[str, Any] = {
        "model": _structure(model),
        "loss": named(task.loss),
        "optimizer": _optimizer(optimizer, model),
    }
    if task.score is not None:
        found["score"] = named(task.score)
    if digest(again) != digest(first[seeds[0]]):
        return found  # batches that differ each time tell nothing
    found |= {f"first batch under seed {seed}": digest(batch) for seed, batch in first.items()}
    values = [_first_loss(task, m, again) for m in (model, _built(task, seeds[0]))]
    if values[0] is not None and values[0] == values[1]:
        found[f"loss as constructed under seed {seeds[0]}"] = values[0]
    return found


def _built(task: Task, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return task.model()


def _structure(model: nn.Module) -> dict[str, Any]:
    """Class, number of tensors, and what tells their names, shapes and modules from those of another model."""
    tensors = [(n, tuple(t.shape), str(t.dtype)) for n, t in (*model.named_parameters(), *model.named_buffers())]
    modules = [(n, named(type(m)), m.extra_repr()) for n, m in model.named_modules()]
    return {
        "class": named(type(model)),
        "parameters": sum(1 for _ in model.parameters()),
        "numbers": sum(p.numel() for p in model.parameters()),
        "tensors": digest(tensors),
        "modules": digest(modules),
    }


def _optimizer(optimizer: Any, model: nn.Module) -> dict[str, Any]:
    if optimizer == "muon":
        return {"name": optimizer}  # it takes groups alone, which are part of each init
    made = make_optimizer(optimizer, model.parameters(), _LR)
    options = [{k: _plain(v) for k, v in g.items() if k not in ("params", "lr")} for g in made.param_groups]
    return {"name": named(optimizer), "class": named(type(made)), "options": options}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else digest(value)


def _first_loss(task: Task, model: nn.Module, batch: Any) -> float | None:
    """The loss of the model as constructed, in evaluation mode; None where it cannot be had that way."""
    try:
        with torch.no_grad():
            value = float(task.loss(call(model.eval(), batch[0]), batch[1]))
    except Exception:  # a model may answer in another form when it is not training; then this tells nothing
        return None
    return value if math.isfinite(value) else None
