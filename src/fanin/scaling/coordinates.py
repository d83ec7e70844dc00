"""`coordinate_check`: whether one learning rate moves every map's output by the same amount at every width."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError
from fanin.memory import as_array
from fanin.model.foreign import as_trainable
from fanin.model.fresh import assert_callable_with, assert_differ, assert_fresh
from fanin.scaling.coordinate_report import CoordinateCheck, MapRow
from fanin.scaling.slopes import fitted
from fanin.scaling.spectral import SpectralFact, spectral_facts
from fanin.text.given import assert_count, assert_positive
from fanin.text.numbers import big
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

    from fanin.scaling.outputs import Place

__all__ = ["coordinate_check"]

TOLERANCE = 0.25
_SMALL_OUTPUT, _ALIKE = 0.1, 1.5  # rms of an output that moves a loss, and ratio of two that count as the same
_LARGEST = 4096  # rows or columns of a matrix whose spectral norm is taken

Changes = dict["Place", list[float]]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What one check runs."""

    build: Callable[[int], torch.nn.Module]
    inputs: Any
    targets: Any
    loss: Callable[..., Any] | None
    optimizer: Any
    lr: float
    steps: int
    recipe: str | None
    groups: bool
    base: int
    wider: int
    settings: Mapping[str, Any]


def coordinate_check(
    build: Callable[[int], torch.nn.Module],
    widths: Sequence[int],
    inputs: Any,
    targets: Any = None,
    *,
    optimizer: Any = "adamw",
    lr: float = 1e-3,
    steps: int = 4,
    seeds: int = 2,
    recipe: str | None = "auto",
    groups: bool | None = None,
    base: int | None = None,
    loss: Callable[..., Any] | None = None,
    tolerance: float = TOLERANCE,
    **settings: Any,
) -> CoordinateCheck:
    """Train models of several widths for a few steps and measure how far the output of every map has moved.

    Under the right laws and rates the rms change does not depend on the width: log2 of the change over log2 of the
    width has slope 0. A slope of 1 means that a model twice as wide moves twice as far, so that its best rate is half.

    Args:
        build: callable of a width that gives a model; it is called under a seed of its own.
        widths: two or more; three or more give standard errors.
        inputs: one batch, the same for all widths and steps: a tensor, a tuple of arguments or a dict of keywords.
        targets: as in `fanin.check`. Without targets and loss, a random direction of the output is trained.
        optimizer: "adamw", "adam", "sgd" (without momentum) or "muon"; or a callable of (model, lr) that gives an
            optimizer, for a parametrization of your own.
        lr: learning rate, at the base width.
        steps: updates, >= 1.
        seeds: models of each width.
        recipe: draws the weights; None leaves them as the constructor drew them.
        groups: train with `fanin.param_groups`; by default where a recipe draws the weights and the optimizer is named.
            False gives every parameter the same rate.
        base: width whose multipliers are 1; the smallest by default.
        loss: as in `fanin.check`.
        tolerance: |slope| up to tolerance + 2 standard errors passes.
        settings: further arguments of `fanin.param_groups`.

    Returns:
        A row for each use of each map with its slope, and ``ok``.

    Raises:
        ArgumentError: fewer than two widths, a count below 1, or models that do not have the same maps.
        CaptureError: a model cannot be run.

    Source: Yang et al. 2022, arXiv 2203.03466, appendix D.1 (coordinate checking).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> def build(width):
        ...     inner = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        ...     return nn.Sequential(*inner, nn.Linear(width, 2))
        >>> x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
        >>> y = (x[:, 0] > 0).long()
        >>> coordinate_check(build, (64, 256, 1024), x, y, lr=0.01).ok
        True
        >>> coordinate_check(build, (64, 256, 1024), x, y, lr=0.01, recipe=None).ok
        False
    """
    sizes = _checked(widths, steps, seeds, lr, tolerance)
    grouped = (recipe is not None and isinstance(optimizer, str)) if groups is None else groups
    _assert_consistent(optimizer, grouped, settings)
    first = sizes[0] if base is None else base
    job = _Job(
        build=build,
        inputs=inputs,
        targets=targets,
        loss=loss,
        optimizer=optimizer,
        lr=float(lr),
        steps=steps,
        recipe=recipe,
        groups=grouped,
        base=first,
        wider=next((w for w in reversed(sizes) if w != first), first),
        settings=settings,
    )
    assert_callable_with("build", build, 1)
    assert_fresh([functools.partial(build, width) for width in sizes], "build")
    assert_differ(build, sizes, "width")
    found: dict[int, list[Changes]] = {}
    outputs: dict[int, list[float]] = {}
    facts: tuple[SpectralFact, ...] = ()
    notes: dict[str, None] = {}
    for width in sizes:
        for seed in range(seeds):
            last = width == sizes[-1] and seed == 0
            run = _run(job, width, seed, facts=last)
            found.setdefault(width, []).append(run.changes)
            outputs.setdefault(width, []).append(run.output)
            facts = run.facts if last else facts
            notes |= dict.fromkeys(run.notes)
    _assert_same_maps(found)
    return CoordinateCheck(
        rows=tuple(_rows(found, steps, tolerance)),
        widths=sizes,
        steps=steps,
        seeds=seeds,
        optimizer=optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__),
        lr=float(lr),
        recipe=recipe or "as constructed",
        groups=grouped,
        tolerance=tolerance,
        facts=facts,
        notes=(*notes, *(_on_outputs(outputs) if targets is not None or loss is not None else ())),
    )


def _on_outputs(found: Mapping[int, Sequence[float]]) -> Iterator[str]:
    """A note where the models do not start with outputs of the same size, so that a loss asks different things."""
    first, last = (sum(v) / len(v) for v in (found[min(found)], found[max(found)]))
    if max(first, last) > _SMALL_OUTPUT and not 1 / _ALIKE < first / max(last, 1e-300) < _ALIKE:
        yield (
            f"outputs start with rms {big(first, 2)} at width {min(found)} and {big(last, 2)} at {max(found)}, so the "
            "gradient of the loss differs between widths before anything is learnt, and the slopes show that too; "
            "without targets and loss (--objective direction) a fixed direction of the output is trained instead"
        )


def _checked(widths: Any, steps: int, seeds: int, lr: float, tolerance: float) -> tuple[int, ...]:
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise ArgumentError(f"widths is a list of whole numbers, as in [64, 128, 256]; got {shown(widths)}")
    for width in widths:
        assert_count("a width", width)
    sizes = tuple(sorted(set(widths)))
    if len(sizes) < 2:
        raise ArgumentError(f"a slope needs two different widths or more; got {tuple(widths)}")
    for name, value in (("steps", steps), ("seeds", seeds)):
        assert_count(name, value)
    for name, number in (("lr", lr), ("tolerance", tolerance)):
        assert_positive(name, number)
    return sizes


def _assert_consistent(optimizer: Any, grouped: bool, settings: Mapping[str, Any]) -> None:
    if not isinstance(optimizer, str) and not callable(optimizer):
        raise ArgumentError(f"optimizer is a name or a callable of (model, lr); got {type(optimizer).__name__}")
    if grouped and not isinstance(optimizer, str):
        raise ArgumentError("groups need an optimizer by name; a callable of (model, lr) brings its own")
    if settings and not grouped:
        raise ArgumentError(f"{', '.join(sorted(settings))} only mean something with groups; got groups=False")


# ---------------------------------------------------------------------- one model
@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one model of one width did.

    Attributes:
        changes: of all maps after each step.
        output: rms of what the model returned before the first step.
        facts: spectral facts of the first step.
        notes: of its groups.
    """

    changes: Changes
    output: float
    facts: tuple[SpectralFact, ...]
    notes: tuple[str, ...]


def _run(job: _Job, width: int, seed: int, *, facts: bool) -> _Run:
    """Train the model of one width and seed for a few steps."""
    import torch

    from fanin.scaling.outputs import OUTPUT, Place

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = as_trainable(job.build(width), "coordinate_check")
        if not isinstance(model, torch.nn.Module):
            raise ArgumentError(f"build({width}) must give a torch.nn.Module; it gave {type(model).__name__}")
        optimizer, layouts, notes = _started(job, model, seed)
        before = _weights(model, layouts) if facts else {}
        first = _outputs(job, model)
        changes: Changes = {}
        taken: tuple[SpectralFact, ...] = ()
        for step in range(job.steps):
            _step(job, model, optimizer)
            if step == 0 and facts:
                after = _weights(model, layouts)
                taken = tuple(f for n in before for f in spectral_facts(n, before[n], after[n], layouts[n]))
            _add_changes(changes, first, _outputs(job, model), width)
    start = first.get(Place(OUTPUT))
    size = 0.0 if start is None else float(start.double().square().mean().sqrt())
    return _Run(changes=changes, output=size, facts=taken, notes=notes)


def _started(job: _Job, model: torch.nn.Module, seed: int) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    """Draw the weights; the optimizer, layout of every weight that has one, and notes of the groups."""
    from fanin.planning.build import plan
    from fanin.scaling.groups import param_groups
    from fanin.scaling.optimizers import optimizer_named

    drawn = None if job.recipe is None else plan(model, job.inputs, recipe=job.recipe, seed=seed)
    params: Any = [p for p in model.parameters() if p.requires_grad]
    notes: tuple[str, ...] = ()
    if job.groups:
        start = drawn if drawn is not None else plan(model, job.inputs, recipe="keep")
        others = {width: _planned(job, width) for width in {job.base, job.wider}}
        made = param_groups(
            model,
            start,
            job.lr,
            optimizer=job.optimizer,
            base=others[job.base],
            wider=others[job.wider],
            **dict(job.settings),
        )
        params, notes, drawn = made, made.notes, made.plan if drawn is not None else None
    if drawn is not None:
        drawn.apply_(model)
    optimizer = (
        optimizer_named(job.optimizer, params, job.lr)
        if isinstance(job.optimizer, str)
        else job.optimizer(model, job.lr)
    )
    return optimizer, _layouts(model, drawn), notes


def _planned(job: _Job, width: int) -> Any:
    from fanin.planning.build import plan

    return plan(job.build(width), job.inputs, recipe=job.recipe or "keep")


def _layouts(model: torch.nn.Module, drawn: Any) -> dict[str, Any]:
    """Layouts of the weights: the plan's, else what their modules say."""
    from fanin.model.owners import owners
    from fanin.model.parameters import slots_of

    slots = slots_of(model)
    if drawn is not None:
        found = {n: a.layout for n, a in drawn.items() if a.role in ("weight", "rnn_ih", "rnn_hh")}
    else:
        found = {n: o.layout for n, o in owners(model, slots).items() if o.role in ("weight", "rnn_ih", "rnn_hh")}
    plain = {n for n, s in slots.items() if not s.through and s.tensor.dim() > 1 and max(s.shape) <= _LARGEST}
    return {n: layout for n, layout in found.items() if layout is not None and layout.in_axes and n in plain}


def _weights(model: torch.nn.Module, layouts: Mapping[str, Any]) -> dict[str, Any]:
    from fanin.model.parameters import slots_of

    slots = slots_of(model)
    return {n: as_array(slots[n].tensor.detach().double().cpu()).copy() for n in layouts}


def _outputs(job: _Job, model: torch.nn.Module) -> Any:
    """Outputs of all maps; random operations draw the same numbers each time."""
    import torch

    from fanin.scaling.outputs import map_outputs

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return map_outputs(model, job.inputs)[0]


def _step(job: _Job, model: torch.nn.Module, optimizer: Any) -> None:
    import torch

    from fanin.measure.objective import objective
    from fanin.model.calling import call

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the random direction, where nothing is given to learn, stays the same
        optimizer.zero_grad()
        value = objective(call(model, job.inputs), targets=job.targets, loss=job.loss).value
        torch.autograd.backward(value)
        optimizer.step()


def _add_changes(changes: Changes, first: Any, now: Any, width: int) -> None:
    for place, value in now.items():
        if place not in first or first[place].shape != value.shape:
            raise ArgumentError(
                f"{place.parameter} is not applied to tensors of the same shape before and after a step at width "
                f"{width}; such a model cannot be compared with itself"
            )
        moved = float((value - first[place]).double().square().mean().sqrt())
        changes.setdefault(place, []).append(moved)


# ---------------------------------------------------------------------- all widths
def _assert_same_maps(found: Mapping[int, Sequence[Changes]]) -> None:
    (first_width, (first, *_)), *_ = found.items()
    for width, runs in found.items():
        other = set(first) ^ set(runs[0])
        if other:
            name = min(place.parameter for place in other)
            raise ArgumentError(
                f"the models of width {first_width} and {width} do not have the same maps: {name} is used differently. "
                "build(width) must change widths alone, not names or depth."
            )


def _rows(found: Mapping[int, Sequence[Changes]], steps: int, tolerance: float) -> Iterator[MapRow]:
    places = list(next(iter(found.values()))[0])
    repeated = {p.parameter for p in places if p.use > 0}
    for place in places:
        by_step = [{w: [run[place][step] for run in runs] for w, runs in found.items()} for step in range(steps)]
        slopes = tuple(fitted(changes, tolerance) for changes in by_step)
        use = f" (use {place.use + 1})" if place.parameter in repeated else ""
        changes = {w: tuple(sum(c[w]) / len(c[w]) for c in by_step) for w in found}
        yield MapRow(name=place.parameter + use, slopes=slopes, changes=changes)
