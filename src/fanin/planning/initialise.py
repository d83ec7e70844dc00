"""`init_`: plan a model, try the plan beside what the model holds, and write the better one into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fanin.errors import ArgumentError, CaptureError, WorseStartError
from fanin.memory import ran_out
from fanin.model.foreign import as_module, given_or_made_up, loss_of, targets_of
from fanin.model.given import assert_loss
from fanin.planning.build import plan_and_live, with_overrides
from fanin.planning.calmer import smaller_alike, smaller_outputs
from fanin.planning.plan import Plan
from fanin.text.given import assert_switch
from fanin.text.paths import matches
from fanin.timing import part

if TYPE_CHECKING:
    import torch

    from fanin.planning.assignment import Assignment
    from fanin.planning.trial import Trial

__all__ = ["init_", "tried_plan"]


def init_(
    model: torch.nn.Module,
    inputs: Any = None,
    *,
    recipe: str = "auto",
    seed: int | None = 0,
    progress: bool = False,
    trial: bool = True,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    **arguments: Any,
) -> Plan:
    """Plan a model, try the plan, and write it into the model: never a start worse than the one the model has.

    The trial measures the model as found and as planned on the given inputs. Where the planned start is worse (see
    `Plan.trial`) because its outputs are too large, the output layer is drawn smaller and the plan tried once more;
    where several maps of one rule give more than predicted, these are; else, or where that is no cure, the found values
    stay where the two part, and the rest is planned and tried. The plan says so in `warnings`, and all numbers are in
    ``extras["trial"]``. Without inputs, or on the meta device, there is nothing to measure, and ``extras["trial"]``
    says that no trial ran. The trial measures either start once, without predictions; each repair that is tried costs
    one more such measurement and plans nothing anew, and at most six are. What a repair left as it was is listed under
    "kept" there, what it drew smaller under "smaller".

    Args:
        model: the model; its parameters are overwritten in place.
        inputs: as in `plan`; the trial runs on them.
        recipe: as in `plan`.
        seed: as in `plan`. None takes a seed from torch's generator, so that `torch.manual_seed` decides, and two calls
            give two starts; this is the one way in which fanin draws from that generator.
        progress: show a bar on stderr.
        trial: False writes the plan without a trial.
        targets: what the outputs are compared with, for the first loss of the trial.
        loss: likewise, a callable of the output, or of (output, targets).
        arguments: everything else that `plan` takes.

    Returns:
        The plan that was written.

    Raises:
        WorseStartError: the planned start is worse, also with the found values where the two part; nothing was written.
        CaptureError: the model does not run on these inputs, and they say why (their dtype, ids out of range).
        ArgumentError: targets or a loss that the outputs cannot be compared with.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(784, 10)
        >>> init_(model, recipe="torch").verify(model).ok
        True
    """
    seed = _drawn_seed() if seed is None else seed
    inputs = given_or_made_up(model, inputs)
    loss, targets = loss_of(model, loss, targets), targets_of(model, targets)
    model, inputs = as_module(model, inputs)
    made = tried_plan(model, inputs, targets=targets, loss=loss, trial=trial, recipe=recipe, seed=seed, **arguments)
    made.apply_(model, progress=progress)
    return made


def _drawn_seed() -> int:
    import torch

    return int(torch.randint(0, 2**63 - 1, ()).item())


def tried_plan(
    model: torch.nn.Module,
    inputs: Any = None,
    *,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    trial: bool = True,
    strict: bool = True,
    overrides: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Plan:
    """A plan that was tried, and repaired where it was worse than what the model holds; the model is not changed.

    Args:
        model: the model.
        inputs: as in `plan`.
        targets: for the first loss.
        loss: likewise.
        trial: False only plans.
        strict: raise where no better plan was found; else give the first plan, with what is worse in its warnings.
        overrides: as in `plan`.
        arguments: everything else that `plan` takes.

    Raises:
        WorseStartError: see `init_`.
        CaptureError: the model does not run on these inputs, and they say why (their dtype, ids out of range).
    """
    assert_switch("trial", trial)
    assert_loss(loss)
    with part("plan"):
        made, live = plan_and_live(model, inputs, overrides=overrides, **{"recipe": "auto", "seed": 0, **arguments})
    if why := _no_trial(made, model, inputs, trial):
        return _untried(made, why)
    try:
        with part("trial"):
            first = made.trial(model, inputs, targets, loss)
    except Exception as error:  # the model cannot be measured as found, so there is nothing to compare with
        wrong_targets = isinstance(error, ArgumentError) and (targets is not None or loss is not None)
        if wrong_targets or (isinstance(error, CaptureError) and error.inputs_at_fault):
            raise
        words = (
            "not enough memory for a batch of this size"
            if ran_out(error)
            else f"{type(error).__name__}: {_line(error)}"
        )
        return _untried(made, f"the model as found cannot be measured: {words}")
    if first.ok and not first.rises:
        return _with_trial(made, first)

    def again(given: Mapping[str, Any], before: Trial) -> tuple[Plan, Trial]:
        from fanin.planning.trial import trial as try_beside

        with part("plan"):
            other = with_overrides(made, live, given)
        with part("trial"):
            done = try_beside(other, model, inputs, targets, loss, found=before.found)
            return other, _also_changed(done, before)

    found = _calmer(made, first, overrides or {}, again)
    if found is not None or first.ok:
        return found or _with_trial(made, first)
    if (found := _alike(made, first, overrides or {}, again)) is not None:
        return found
    repaired, second, region = _with_found_values(made, first, overrides or {}, again)
    if repaired is not None:
        return repaired
    if strict:
        raise WorseStartError(_refused(made, first, second, region))
    return _with_trial(made, first, (f"this start is worse than the one the model has: {_worse(first)}",))


_Again: TypeAlias = "Callable[[Mapping[str, Any], Trial], tuple[Plan, Trial]]"


def _calmer(made: Plan, first: Trial, overrides: Mapping[str, Any], again: _Again) -> Plan | None:
    """The plan with smaller outputs, where that is all it needs."""
    smaller, factor = smaller_outputs(made, first)
    if not smaller:
        return None
    calmer, done = again({**overrides, **smaller}, first)
    told = _taken_back(first, tuple(smaller), factor)
    return _with_trial(calmer, done, (told,), smaller=tuple(smaller)) if done.ok else None


def _alike(made: Plan, first: Trial, overrides: Mapping[str, Any], again: _Again) -> Plan | None:
    """The plan with smaller maps of one rule, where these give more than predicted; with smaller outputs if needed."""
    alike, factor = smaller_alike(made, first)
    if not alike:
        return None
    given = {**alike, **_others(made, dict.fromkeys(alike), overrides)}
    calmer, second = again(given, first)
    told = _alike_taken_back(first, tuple(alike), factor)
    if second.ok and not second.rises:
        return _with_trial(calmer, second, (told,), smaller=tuple(alike))
    smaller, size = smaller_outputs(calmer, second)
    if smaller and not set(smaller) & set(alike):
        less, third = again({**given, **smaller}, second)
        if third.ok:
            both = (told, _taken_back(second, tuple(smaller), size))
            return _with_trial(less, third, both, smaller=(*alike, *smaller))
    return _with_trial(calmer, second, (told,), smaller=tuple(alike)) if second.ok else None


def _with_found_values(
    made: Plan, first: Trial, overrides: Mapping[str, Any], again: _Again
) -> tuple[Plan | None, Trial | None, tuple[str, ...]]:
    """The plan that keeps the found values where the two starts part, its trial, and what it keeps; None: still worse.

    Where nothing but the size of the outputs is worse then, they are drawn smaller besides. Where that is no cure, all
    behind that place keeps its values too.
    """
    names = () if first.where is None else _known(made, first.where.parameters)
    if not names:
        return None, None, ()
    region = dict.fromkeys(names)
    repaired, second = again({**region, **_others(made, region, overrides)}, first)
    if second.ok:
        return _with_trial(repaired, second, (_repaired(first, names),), kept=names), second, names
    smaller, factor = smaller_outputs(repaired, second)
    if smaller:
        calmer, third = again({**region, **_others(made, region, {**overrides, **smaller})}, second)
        if third.ok:
            both = (_repaired(first, names), _taken_back(second, tuple(smaller), factor))
            return _with_trial(calmer, third, both, kept=names, smaller=tuple(smaller)), third, names
    beyond = _known(made, (*names, *_behind(made, first, names)))
    left = (a for a in made.values() if a.action == "draw" and a.name not in beyond)
    if len(beyond) > len(names) and any(a.fan_in is not None for a in left):
        region = dict.fromkeys(beyond)
        wider, last = again({**region, **_others(made, region, overrides)}, second)
        if last.ok:
            whole = not any(a.action == "draw" for a in made.values() if a.name not in beyond)
            said = _repaired(first, beyond, all_drawn=whole)
            return _with_trial(wider, last, (said,), kept=beyond), last, beyond
    return None, second, names


def _behind(made: Plan, first: Trial, names: tuple[str, ...]) -> tuple[str, ...]:
    """The drawn parameters but those that are read before the first of these: what they were matched to stays."""
    before = set[str]()
    for site in first.found.sites:
        if not set(names).isdisjoint(site.parameters):
            break
        before.update(site.parameters)
    return tuple(a.name for a in made.values() if a.action == "draw" and a.name not in before)


def _no_trial(made: Plan, model: torch.nn.Module, inputs: Any, trial: bool) -> str:
    from fanin.planning.trial import cannot_try

    if not trial:
        return "not asked for (trial=False)"
    if not any(a.action == "draw" for a in made.assignments.values()):
        return "nothing is drawn"
    return cannot_try(model, inputs)


def _known(made: Plan, names: tuple[str, ...]) -> tuple[str, ...]:
    """The first names of these parameters, each once."""
    known = dict.fromkeys(made[n].name for n in names if n in made)
    return tuple(sorted(known, key=lambda n: made[n].fan_in is None))  # maps before their biases


def _others(made: Plan, region: Mapping[str, None], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that still match something outside the region."""
    outside = [n for a in made.assignments.values() if a.name not in region for n in (*a.names, a.through) if n]
    return {glob: law for glob, law in overrides.items() if any(matches(n, glob) for n in outside)}


def _untried(made: Plan, why: str) -> Plan:
    return replace(made, extras={**made.extras, "trial": {"ran": False, "why": why}})


def _with_trial(
    made: Plan,
    done: Trial,
    warnings: tuple[str, ...] = (),
    kept: tuple[str, ...] = (),
    smaller: tuple[str, ...] = (),
) -> Plan:
    repaired = {"kept": list(kept), "smaller": list(smaller)}
    told = {**done.to_dict(), **{how: names for how, names in repaired.items() if names}}
    told_once = tuple(dict.fromkeys((*warnings, *made.warnings, *done.changed)))
    why = {**dict.fromkeys(smaller, _DRAWN_SMALLER), **dict.fromkeys(kept, _KEPT)}
    assignments = {n: _because(a, why) for n, a in made.assignments.items()}
    return replace(made, assignments=assignments, extras={**made.extras, "trial": told}, warnings=told_once)


# Reasons of what the trial itself changed, where the user gave no override.
_KEPT = "kept as found: tried with the planned values, the model started worse"
_DRAWN_SMALLER = "drawn smaller: tried at full size, the model started worse"


def _because(a: Assignment, why: Mapping[str, str]) -> Assignment:
    """The assignment with the trial's own reason in place of that of the override by which the trial set it."""
    return replace(a, reason=why[a.name]) if a.name in why else a


def _also_changed(second: Trial, first: Trial) -> Trial:
    """The second trial; with what the first one changed for good."""
    return replace(second, changed=tuple(dict.fromkeys((*first.changed, *second.changed))))


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _worse(trial: Trial) -> str:
    return "; ".join(w.text.rstrip(".") for w in trial.worse)


def _repaired(first: Trial, kept: tuple[str, ...], *, all_drawn: bool = False) -> str:
    rest = ", which are all that would be drawn" if all_drawn else ", and the rest is as planned"
    return (
        f"the planned start was worse than the one the model has: {_worse(first)}. They part {first.where}. So the "
        f"values found in {_names(kept)} stay{rest}; this start was tried and is not worse. trial=False draws all"
    )


def _taken_back(first: Trial, names: tuple[str, ...], factor: float) -> str:
    why = _worse(first) or "the first loss is more than ln 2 above the found one"
    return (
        f"with outputs of full size the planned start was worse than the one the model has: {why}. So {_names(names)} "
        f"start at {factor:.2g} times that size; this start was tried and is not worse. trial=False draws them at full "
        "size"
    )


def _alike_taken_back(first: Trial, names: tuple[str, ...], factor: float) -> str:
    return (
        f"at full size the planned start was worse than the one the model has: {_worse(first)}. The maps of one rule "
        f"give more than predicted, layer after layer. So {_names(names)} start at {factor:.2g} times that size; this "
        "start was tried and is not worse. trial=False draws them at full size"
    )


def _refused(made: Plan, first: Trial, second: Trial | None, kept: tuple[str, ...]) -> str:
    lines = [f"the planned start of {made.model} is worse than the one it has, so nothing was written:"]
    lines += [f"  {w.text}" for w in first.worse]
    if first.where is not None:
        lines.append(f"  They part {first.where}.")
    if second is not None:
        lines.append(f"  With the values found in {_names(kept)} it is still worse: {_worse(second)}.")
    lines += [f"  {s}" for s in dict.fromkeys((*made.extras.get("changed", ()), *(second or first).changed))]
    name = kept[0] if kept else next(iter(made))
    lines.append(
        f"Keep or choose laws there (overrides={{{name!r}: None}} keeps, an initializer draws), leave the model as it "
        f"is (recipe='keep'), or write this start all the same (trial=False)."
    )
    return "\n".join(lines)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
