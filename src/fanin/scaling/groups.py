"""`param_groups`: groups for the user's own optimizer under which one learning rate holds at every width and depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from fanin.errors import ArgumentError, CoverageError, PlanError, UnknownNameError, did_you_mean, sentence
from fanin.initializers.catalogue.wrappers import Scaled
from fanin.model.foreign import as_module, as_trainable
from fanin.model.parameters import Slot, slots_of
from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData, assert_plan
from fanin.planning.names import under_names_of
from fanin.planning.plan import Plan
from fanin.scaling.depth import branch_factors
from fanin.scaling.growth import MAP_ROLES, Base, base_of, growth_of
from fanin.scaling.param_groups import ParamGroups
from fanin.text.names import clean
from fanin.theory.transfer import OPTIMIZERS, Growth, Multipliers, folded, multipliers, muon_multipliers, tied_note

if TYPE_CHECKING:
    import torch

__all__ = ["param_groups"]

_VECTORS = ("bias", "norm_scale", "norm_shift", "rnn_bias", "gain", "scale", "shift", "layer_scale", "act_param")
_MOST_NAMED = 8
_LEVEL_UNDER_SGD = 0.5  # depth branches times the square of depth^-0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What the caller asked for."""

    optimizer: str
    lr: float
    adamw_lr: float
    weight_decay: float
    eps: float
    adjust_lr: str
    decay_vectors: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """One trainable parameter: how it grows, the factor folded into it, and which optimizer trains it."""

    slot: Slot
    assignment: Assignment
    growth: Growth
    role: str
    factor: float = 1.0
    part: str = "adamw"


def param_groups(
    model: torch.nn.Module,
    plan: Plan,
    lr: float,
    *,
    optimizer: str = "adamw",
    weight_decay: float = 0.0,
    base: torch.nn.Module | PlanData | None = None,
    depth_base: int | None = None,
    depth: int | None = None,
    depth_power: float = 1.0,
    wider: torch.nn.Module | PlanData | None = None,
    adamw_lr: float | None = None,
    eps: float = 1e-8,
    adjust_lr: str = "original",
    decay_vectors: bool = True,
    on_unknown: Literal["raise", "keep"] = "raise",
) -> ParamGroups:
    """Parameter groups under which a learning rate that was tuned on a small base model holds for this one.

    The groups go to the user's own optimizer: ``torch.optim.AdamW(groups)``. Every trainable parameter is in exactly
    one of them. They belong to the laws of ``groups.plan``, in which output layers have their std times
    1 / sqrt(growth of their inputs), and the last maps of residual branches the depth factor; everything else is as in
    `plan`. Nothing in the model changes: apply ``groups.plan`` to it.

    With i and o the growth of a weight's inputs and outputs over the base, AdamW gets the rate lr / i, the decay
    weight_decay * i and eps / o, SGD the rate lr * o / i and the decay weight_decay * i / o. Where model and base are
    of one size every multiplier is exactly 1.

    Args:
        model: the model to train; wrappers are looked through.
        plan: a plan of this model, of any recipe.
        lr: learning rate that was tuned on the base model, > 0.
        optimizer: "adamw", "adam", "sgd" (with or without momentum), or "muon": matrices between two inner layers go to
            ``torch.optim.Muon``, everything else to AdamW; ``groups.of("muon")`` and ``groups.of("adamw")`` give
            each its own.
        weight_decay: at the base, >= 0. For "adam" it must be 0: torch's Adam divides it by the gradient's size.
        base: the model at the width where `lr` was tuned, on the meta device if you like (shapes alone are read), or a
            plan for it. None: what the plan says, as those of the recipe ``mup`` and ``groups.plan`` do.
        depth_base: number of blocks at which `lr` was tuned; each residual branch then counts depth_base / depth.
        depth: number of blocks of this model; counted in the names of its parameters by default.
        depth_power: 1 (CompleteP) keeps the rate over depths under AdamW, Adam and Muon; under SGD 0.5 does, where a
            branch with the factor f learns f^2 times as fast. With 0.5 the others train deep models slightly better
            when tuned.
        wider: for Muon where `base` is of the model's own size: a wider model, which tells what grows.
        adamw_lr: for Muon: the rate of what AdamW trains; `lr` by default.
        eps: of Adam and AdamW at the base.
        adjust_lr: for Muon: ``adjust_lr_fn`` of ``torch.optim.Muon``, "original" or "match_rms_adamw".
        decay_vectors: False leaves biases, norms and other vectors without weight decay.
        on_unknown: "raise" for a parameter that grows and whose axes are not known, or "keep" it at `lr`.

    Returns:
        A list of groups; each has ``params``, ``names``, ``role``, ``lr``, ``weight_decay`` and what its optimizer
        needs.

    Raises:
        UnknownNameError: an optimizer whose multipliers are not known.
        ArgumentError: no base, a base that is another model, or a number outside its range.
        PlanError: the plan is of another model, or a depth factor that cannot be folded (each branch is named).
        CoverageError: a parameter that grows in a way that is not understood.

    Source: Yang et al. 2022, arXiv 2203.03466; Yang, Simon, Bernstein 2023, arXiv 2310.17813; Dey et al. 2025
    (CompleteP), arXiv 2505.01618.

    Example:
        >>> import fanin, torch
        >>> from torch import nn
        >>> def build(width):
        ...     inner = [nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        ...     return nn.Sequential(*inner, nn.Linear(width, 2))
        >>> model, inputs = build(256), torch.ones(8, 4)
        >>> groups = param_groups(model, fanin.plan(model, inputs), lr=0.01, base=build(64))
        >>> {name: group["lr"] for group in groups for name in group["names"] if name.endswith("weight")}
        {'0.weight': 0.01, '2.weight': 0.0025, '4.weight': 0.0025}
        >>> trained = torch.optim.AdamW(groups)
    """
    settings = _settings(optimizer, lr, adamw_lr, weight_decay, eps, adjust_lr, decay_vectors)
    model = as_module(as_trainable(model, "param_groups")).module
    plan = under_names_of(plan, model)
    slots = _fitting(model, plan)
    growth, unknown = _growth(plan, base)
    if unknown and on_unknown != "keep":
        raise CoverageError(_unknown_message(unknown))
    factors = _factors(plan, depth_base, depth, depth_power)
    inner = _inner(plan, growth, wider)
    scales = [_scale(plan, s, growth, factors, optimizer, inner) for s in slots if s.tensor.requires_grad]
    if not scales:
        raise ArgumentError(f"{clean(plan.model)} has no trainable parameter (requires_grad=True)")
    scaled, changed = _scaled_plan(plan, growth, factors)
    groups = _grouped(scales, settings)
    notes = (
        *_notes(plan, base, growth),
        *_depth_notes(optimizer, factors, depth_base, depth_power),
        *(f"{n}: {why}; it keeps the rate" for n, why in unknown.items()),
    )
    return ParamGroups(groups, plan=scaled, optimizer=optimizer, changed=changed, notes=notes)


# ---------------------------------------------------------------------- arguments
def _settings(
    optimizer: str, lr: float, adamw_lr: float | None, weight_decay: float, eps: float, adjust: str, decay: bool
) -> _Settings:
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError(
            f"no groups are known for the optimizer {optimizer!r}; "
            f"{sentence(did_you_mean(str(optimizer), OPTIMIZERS))} "
            "Each optimizer answers in its own way to a wider gradient, so none is assumed."
        )
    for name, value in (("lr", lr), ("adamw_lr", lr if adamw_lr is None else adamw_lr), ("eps", eps)):
        if not 0.0 < float(value) < math.inf:
            raise ArgumentError(f"{name} is a finite number > 0; got {value!r}")
    if not 0.0 <= float(weight_decay) < math.inf:
        raise ArgumentError(f"weight_decay is a finite number >= 0; got {weight_decay!r}")
    if optimizer == "adam" and weight_decay:
        raise ArgumentError(
            "weight_decay must be 0 for 'adam': torch.optim.Adam adds it to the gradient before dividing by the "
            "gradient's size, so no multiplier holds it over widths. Take optimizer='adamw'."
        )
    muon_multipliers((1.0, 1.0), (1.0, 1.0), adjust)  # says what is wrong with its name
    return _Settings(
        optimizer=optimizer,
        lr=float(lr),
        adamw_lr=float(lr if adamw_lr is None else adamw_lr),
        weight_decay=float(weight_decay),
        eps=float(eps),
        adjust_lr=adjust,
        decay_vectors=decay,
    )


def _fitting(model: torch.nn.Module, plan: Plan) -> list[Slot]:
    assert_plan(plan)
    slots = list(slots_of(model).values())
    wrong = [s.name for s in slots if s.name not in plan or plan[s.name].shape != s.shape]
    if wrong or len(slots) != len(plan):
        which = f"{clean(wrong[0])} is not in it with that shape" if wrong else "it has other parameters"
        raise PlanError(f"the plan is not of this model: {which}. Plan the model that is trained.")
    return slots


def _growth(plan: Plan, base: Any) -> tuple[dict[str, Growth], dict[str, str]]:
    """Growth of every parameter of the plan, and why it is not known for some."""
    if base is None:
        stored = plan.extras.get("scaling")
        if stored is None:
            raise ArgumentError(
                "base is missing: give the model at the width where the rate was tuned, as in base=build(64); on the "
                "meta device it takes no memory"
            )
        return {name: Growth(**stored["growth"][name]) for name in plan}, {}
    shapes = base_of(base, plan)
    found = {name: _growth_of(plan, name, shapes) for name in plan}
    unknown = {name: g for name, g in found.items() if isinstance(g, str)}
    return {name: g if isinstance(g, Growth) else Growth() for name, g in found.items()}, unknown


def _growth_of(plan: PlanData, name: str, shapes: Base) -> Growth | str:
    return growth_of(plan[name], shapes, is_output=name in _outputs(plan), both_ways=name in _both_ways(plan))


def _unknown_message(unknown: Mapping[str, str]) -> str:
    lines = [f"{clean(name)}: {why}" for name, why in list(unknown.items())[:_MOST_NAMED]]
    more = [f"... and {len(unknown) - _MOST_NAMED} more"] if len(unknown) > _MOST_NAMED else []
    return (
        "these parameters grow with the width in a way that is not understood:\n  "
        + "\n  ".join([*lines, *more])
        + "\nGive on_unknown='keep' to train them at the base rate."
    )


def _factors(plan: Plan, depth_base: int | None, depth: int | None, power: float) -> dict[str, float]:
    if depth_base is None:
        stored = plan.extras.get("scaling", {})
        return dict(stored.get("factors", {}))
    return branch_factors(plan, depth_base=depth_base, depth=depth, power=power)


# ---------------------------------------------------------------------- one parameter
def _outputs(plan: PlanData) -> frozenset[str]:
    return frozenset(plan.extras.get("transfer", {}).get("outputs", ()))


def _both_ways(plan: PlanData) -> frozenset[str]:
    return frozenset(plan.extras.get("transfer", {}).get("both_ways", ()))


def _inner(plan: Plan, growth: Mapping[str, Growth], wider: Any) -> frozenset[str]:
    """Matrices between two inner layers: both sides grow where that can be seen, else by what they read and give."""
    seen = dict(growth)
    if wider is not None:
        shapes = base_of(wider, plan)
        found = {n: _growth_of(plan, n, shapes) for n in plan}
        seen |= {n: g for n, g in found.items() if isinstance(g, Growth)}
    matrices = {n for n, a in plan.items() if a.role in MAP_ROLES and len(a.shape) == 2 and not a.through}
    if any(g.kind != "fixed" for g in seen.values()):
        return frozenset(n for n in matrices if seen[n].kind == "hidden")
    facts = plan.extras.get("transfer", {})
    return frozenset(matrices - set(facts.get("inputs", ())) - set(facts.get("outputs", ())))


def _scale(
    plan: Plan,
    slot: Slot,
    growth: Mapping[str, Growth],
    factors: Mapping[str, float],
    optimizer: str,
    inner: frozenset[str],
) -> _Scale:
    a = plan[slot.name]
    part = optimizer if optimizer != "muon" else ("muon" if slot.name in inner else "adamw")
    return _Scale(
        slot=slot,
        assignment=a,
        growth=growth[slot.name],
        role=_role(plan, a, growth[slot.name]),
        factor=factors.get(slot.name, 1.0),
        part=part,
    )


def _role(plan: Plan, a: Assignment, growth: Growth) -> str:
    """What a parameter is for its learning rate: "input", "hidden" or "readout" map, "table" or "vector"."""
    facts = plan.extras.get("transfer", {})
    if a.role in MAP_ROLES:
        if a.name in facts.get("outputs", ()) or growth.kind == "readout":
            return "readout"
        return "input" if a.name in facts.get("inputs", ()) or growth.kind == "input" else "hidden"
    if a.role == "embedding":
        return "readout" if a.name in facts.get("outputs", ()) else "table"
    return "table" if a.role in ("position", "token") else "vector"


def _multipliers(scale: _Scale, settings: _Settings) -> Multipliers:
    if scale.part == "muon":
        first = muon_multipliers(*_sides(scale), settings.adjust_lr)
    else:
        first = multipliers(scale.part, scale.growth)
    if scale.factor == 1.0:
        return first
    then = folded(scale.part, scale.factor)
    return Multipliers(
        lr=first.lr * then.lr, weight_decay=first.weight_decay * then.weight_decay, eps=first.eps * then.eps
    )


def _sides(scale: _Scale) -> tuple[tuple[float, float], tuple[float, float]]:
    """(rows, columns) of a matrix, as Muon sees them, here and at the base."""
    rows, columns = scale.assignment.shape
    layout = scale.assignment.layout
    transposed = layout is not None and layout.in_axes == (0,)
    by = (scale.growth.inputs, scale.growth.outputs) if transposed else (scale.growth.outputs, scale.growth.inputs)
    return (rows, columns), (rows / by[0], columns / by[1])


# ---------------------------------------------------------------------- groups and plan
def _grouped(scales: list[_Scale], settings: _Settings) -> list[dict[str, Any]]:
    found: dict[tuple[str, str, Multipliers], list[_Scale]] = {}
    for scale in scales:
        found.setdefault((scale.part, scale.role, _multipliers(scale, settings)), []).append(scale)
    return [_group(members, m, settings) for (_, _, m), members in found.items()]


def _group(members: list[_Scale], m: Multipliers, settings: _Settings) -> dict[str, Any]:
    first = members[0]
    rate = settings.adamw_lr if settings.optimizer == "muon" and first.part == "adamw" else settings.lr
    decays = settings.decay_vectors or first.role != "vector"
    group: dict[str, Any] = {
        "params": [s.slot.tensor for s in members],
        "names": tuple(s.slot.name for s in members),
        "role": first.role,
        "lr": rate * m.lr,
        "weight_decay": settings.weight_decay * m.weight_decay if decays else 0.0,
        "multipliers": asdict(m),
    }
    if first.part in ("adam", "adamw"):
        group["eps"] = settings.eps * m.eps
    if settings.optimizer == "muon":
        group["optimizer"] = first.part
        if first.part == "muon":
            group["adjust_lr_fn"] = settings.adjust_lr
    return group


def _scaled_plan(
    plan: Plan, growth: Mapping[str, Growth], factors: Mapping[str, float]
) -> tuple[Plan, tuple[str, ...]]:
    """The plan whose laws belong to the groups, and the parameters whose law is another one."""
    applied = dict(plan.extras.get("scaling", {}).get("laws", {}))
    wanted = {name: _law_factor(plan, name, growth[name]) * factors.get(name, 1.0) for name in plan}
    changed, made = [], dict(plan.assignments)
    for name, factor in wanted.items():
        step = factor / applied.get(name, 1.0)
        a = plan.assignments[name]
        if math.isclose(step, 1.0, rel_tol=1e-12) or a.action != "draw" or a.initializer is None or not a.std:
            continue
        made[name] = replace(
            a,
            initializer=Scaled(a.initializer, step),
            std=a.std * step,
            reason=f"{a.reason}; times {step:.4g}, so that one learning rate holds over widths and depths",
            predicted_rms=tuple(None if r is None else r * step for r in a.predicted_rms),
        )
        changed.append(name)
    scaling = {
        "growth": {name: asdict(g) for name, g in growth.items()},
        "factors": dict(factors),
        "laws": {name: f for name, f in wanted.items() if f != 1.0},
    }
    extras = {**plan.extras, "scaling": scaling}
    return replace(plan, assignments=made, extras=extras), tuple(changed)


def _law_factor(plan: Plan, name: str, growth: Growth) -> float:
    """1 / sqrt(growth of the inputs) for an output layer; its law has 1 / sqrt(fan_in) already.

    Other maps onto a fixed number of units (a bottleneck, a router) keep their law: what follows them would get a
    signal that fades with the width.
    """
    is_output = name in _outputs(plan) if "transfer" in plan.extras else True
    return growth.inputs**-0.5 if plan[name].role in MAP_ROLES and growth.kind == "readout" and is_output else 1.0


def _depth_notes(optimizer: str, factors: Mapping[str, float], depth_base: int | None, power: float) -> Iterator[str]:
    """A note where a sum of branches that each have their factor moves less in a deeper model."""
    factor = min(factors.values(), default=1.0)
    if optimizer == "sgd" and depth_base is not None and power > _LEVEL_UNDER_SGD and factor < 1.0:
        yield (
            f"under SGD a branch with the factor {factor:.3g} learns {factor**2:.3g} times as fast, so all branches "
            "together move the output less in a deeper model: depth_power=0.5 keeps that at every depth"
        )


def _notes(plan: Plan, base: Any, growth: Mapping[str, Growth]) -> tuple[str, ...]:
    if all(g.kind == "fixed" for g in growth.values()):
        return ()
    notes = []
    here = plan.extras.get("transfer", {}).get("head_dim")
    there = base.extras.get("transfer", {}).get("head_dim") if isinstance(base, PlanData) else None
    if here is not None and there is not None and here != there:
        notes.append(
            f"attention heads are {here} wide and {there} at the base: attention scores must be divided by d_head, not "
            f"sqrt(d_head). Multiply the queries by sqrt({there} / {here}) in the forward pass."
        )
    elif here is not None and there is None and base is not None:
        notes.append(
            f"attention heads are {here} wide; only where those of the base are narrower, attention scores must be "
            "divided by d_head, not sqrt(d_head). Give base=fanin.plan(build(...), inputs) to have that compared."
        )
    tied = [n for n in plan if plan[n].role == "embedding" and n in _outputs(plan) and growth[n].kind == "readout"]
    notes += [tied_note(n, growth[n].inputs) for n in tied]
    notes += [
        f"{clean(n)} is applied both ways, as it is and transposed: it takes the smaller of the two rates, so what it "
        "reads from the narrow side learns more slowly in a wider model. Untie the two to have both"
        for n in plan
        if n in _both_ways(plan) and growth[n].inputs != growth[n].outputs
    ]
    return tuple(notes)
