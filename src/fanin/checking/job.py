"""What is to be checked, as records: the model with its inputs and its loss, and the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError, MissingDependencyError
from fanin.rules.base import Optimizer

if TYPE_CHECKING:
    import torch

    from fanin.measure.task import FirstStep

__all__ = ["Job", "first_step_of", "is_factory", "job_of", "jobs_of", "optimizer_of"]

_ADAPTIVE = ("adam", "adagrad", "rmsprop", "lion", "adafactor", "lamb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one check runs.

    Attributes:
        model: the module.
        inputs: a tensor, a tuple of positional arguments, or a dict of keyword arguments.
        targets: class indices, values, or the second argument of `loss`; None where there are none.
        loss: a callable of the output, or of (output, targets); None where there is none.
        compiled: whether the loss is that of the model's `compile`.
    """

    model: torch.nn.Module
    inputs: Any
    targets: Any = None
    loss: Callable[..., Any] | None = None
    compiled: bool = False


def jobs_of(
    model: Any, inputs: Any, targets: Any, loss: Callable[..., Any] | None, seeds: Iterable[int]
) -> Iterator[Job]:
    """One job a seed, each made when it is asked for; see `job_of`.

    Raises:
        ArgumentError: a factory gave a model that has parameters of an earlier one.
    """
    from fanin.model.fresh import FreshModels

    fresh = FreshModels("the factory")
    for seed in seeds:
        job = job_of(model, inputs, targets, loss, seed)
        if is_factory(model):
            fresh.add(job.model)
        yield job


def is_factory(model: Any) -> bool:
    """Whether it is a function that gives a model, and no model itself."""
    import torch

    from fanin.model.foreign import is_foreign

    return callable(model) and not isinstance(model, torch.nn.Module) and not is_foreign(model)


def job_of(model: Any, inputs: Any, targets: Any, loss: Callable[..., Any] | None, seed: int) -> Job:
    """What `fanin.check` was given; a factory is called from the seed, and the generators are put back.

    Raises:
        ArgumentError: the model is no module and no factory of one, the loss is no function, or there are no inputs.
        MissingDependencyError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError.of("torch", extra="torch", needed_for="fanin.check") from error

    from fanin.model.foreign import as_module, is_foreign, loss_of, targets_of
    from fanin.model.given import assert_loss, assert_made, assert_module, assert_numbers
    from fanin.model.jax_models import kind_of

    if not is_factory(model):
        job = Job(model=model, inputs=inputs, targets=targets, loss=loss)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            assert_made(model)
            made = model()
        several = isinstance(made, tuple) and not kind_of(made)  # a transform of Haiku is a tuple
        job = _completed(made if several else (made,), inputs, targets, loss)
    if not is_foreign(job.model):
        assert_module(job.model)
    if job.inputs is None:
        raise ArgumentError(
            "inputs is missing: give a tensor, a tuple of positional arguments or a dict of keyword arguments."
        )
    if not is_foreign(job.model):
        assert_loss(job.loss)
        for name, given in (("inputs", job.inputs), ("targets", job.targets)):
            assert_numbers(given, name)
        return job
    job = replace(job, loss=loss_of(job.model, job.loss, job.targets), compiled=job.loss is None)
    assert_loss(job.loss)
    module, given = as_module(job.model, job.inputs)
    return replace(job, model=module, inputs=given, targets=targets_of(job.model, job.targets))


def _completed(made: tuple[Any, ...], inputs: Any, targets: Any, loss: Callable[..., Any] | None) -> Job:
    """What a factory gave, where the caller did not give it."""
    import torch

    model, *rest = made
    if rest and inputs is None:
        inputs, rest = rest[0], rest[1:]
    for extra in rest:
        if callable(extra) and loss is None:
            loss = extra
        elif isinstance(extra, torch.Tensor) and targets is None:
            targets = extra
    return Job(model=model, inputs=inputs, targets=targets, loss=loss)


def optimizer_of(optimizer: Any) -> Optimizer | None:
    """What the rules need to know of a torch optimizer; None where none was given.

    Raises:
        ArgumentError: it has no parameter groups.
    """
    if optimizer is None:
        return None
    groups = getattr(optimizer, "param_groups", None)
    if not groups:
        raise ArgumentError(
            f"optimizer is a {type(optimizer).__name__} without param_groups; give a torch.optim.Optimizer."
        )
    name, eps = type(optimizer).__name__, groups[0].get("eps")
    return Optimizer(
        name=name,
        lr=max(float(g.get("lr") or 0.0) for g in groups),  # None: the optimizer finds its own
        peak=max((float(g[k]) for g in groups for k in ("initial_lr", "max_lr") if g.get(k) is not None), default=None),
        decay=max(map(_decay, groups)),
        eps=float(eps) if isinstance(eps, float) else None,
        adaptive=any(word in name.lower() for word in _ADAPTIVE),
    )


def first_step_of(optimizer: Any, groups: Sequence[Mapping[str, Any]] | None = None) -> FirstStep | None:
    """What the first step of an optimizer changes, tried on a copy of one parameter at a time; None without one.

    The step is made at the largest rate that the parameter's group names; the second number is its rate now over that
    one. The function gives None for a parameter that the optimizer does not train or has trained already, and where the
    optimizer cannot be made again from the settings of a group.

    Args:
        optimizer: it; None where there is none.
        groups: its groups, with the model's parameters in the place of the optimizer's own copies; its own where None.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> step = first_step_of(torch.optim.SGD([weight], lr=0.5))
        >>> step(weight, torch.tensor([1.0, 2.0])), weight.grad
        ((tensor([-0.5000, -1.0000]), 1.0), None)
    """
    groups = groups or getattr(optimizer, "param_groups", None)
    if not groups:
        return None
    of = {id(p): {k: v for k, v in group.items() if k != "params"} for group in groups for p in group["params"]}

    def step(parameter: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, float] | None:
        if id(parameter) not in of or optimizer.state.get(parameter):
            return None
        settings = of[id(parameter)]
        peak = _peak(settings)
        if peak is None:
            change = _change(type(optimizer), settings, parameter, gradient)
            return None if change is None else (change, 1.0)
        change = _change(type(optimizer), {**settings, "lr": peak}, parameter, gradient)
        return None if change is None else (change, float(settings["lr"]) / peak)

    return step


def _decay(group: Mapping[str, Any]) -> float:
    """The largest rate of a group times its weight decay."""
    rate = _peak(group) or float(group.get("lr") or 0.0)
    return rate * float(group.get("weight_decay") or 0.0)


def _peak(settings: Mapping[str, Any]) -> float | None:
    """The largest rate that a group names where that is not the one of now; None elsewhere."""
    now = settings.get("lr")
    others = [float(settings[k]) for k in ("initial_lr", "max_lr") if settings.get(k) is not None]
    return max(others) if now is not None and others and max(others) > float(now) else None


def _change(
    kind: type, settings: Mapping[str, Any], parameter: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor | None:
    twin = parameter.detach().clone().requires_grad_()
    twin.grad = gradient.detach().clone().to(twin.dtype)
    try:
        with _without_global_hooks():
            kind([{"params": [twin], **settings}]).step()
    except Exception:  # it needs more than its groups hold, a closure, or more than one parameter
        return None
    return twin.detach() - parameter.detach()


@contextmanager
def _without_global_hooks() -> Iterator[None]:
    """No hook on all optimizers runs inside: it would take this step for one of the training."""
    from torch.optim import optimizer as module

    tables: list[dict[int, Any]] = [module._global_optimizer_pre_hooks, module._global_optimizer_post_hooks]
    saved = [dict(table) for table in tables]
    try:
        for table in tables:
            table.clear()
        yield
    finally:
        for table, entries in zip(tables, saved, strict=True):
            table.update(entries)
