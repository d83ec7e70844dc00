"""A plan for the same model built again, whose library has given other names to its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from fanin.model.foreign import is_view, stream_names
from fanin.planning.data import PlanData

__all__ = ["renamed_by_stream", "under_names_of"]

P = TypeVar("P", bound=PlanData)


def under_names_of(plan: P, module: Any) -> P:
    """The plan under the names that a model of another library has now; any other plan as it is.

    Keras numbers layers without a name through the whole process, so a model that is built again has other names. The
    streams count within the model: where both have the same streams, a weight is found by its stream.

    Args:
        plan: of this model, perhaps made in another process.
        module: what `fanin.model.foreign.as_module` gives for the model, or any torch module.
    """
    if not is_view(module):
        return plan
    streams = stream_names(module)
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    return renamed_by_stream(plan, {streams.get(name, name): name for name in names})


def renamed_by_stream(plan: P, wanted: Mapping[str, str]) -> P:
    """The plan with other names for its weights, where it has exactly these streams.

    Args:
        plan: the plan.
        wanted: name of a stream -> name of its weight.
    """
    found = {a.key: a.name for a in plan.assignments.values()}
    if set(found) != set(wanted):
        return plan
    new = {name: wanted[key] for key, name in found.items()}
    if all(name == old for old, name in new.items()):
        return plan
    made = {new[n]: replace(a, name=new[n], key=a.key) for n, a in plan.assignments.items()}
    return replace(plan, assignments=made, extras=_renamed(plan.extras, new))


def _renamed(extras: Mapping[str, Any], new: Mapping[str, str]) -> dict[str, Any]:
    """What a plan keeps beside its laws, with growth under the new names."""
    scaling = extras.get("scaling")
    if scaling is None:
        return dict(extras)
    growth = {new.get(name, name): grown for name, grown in scaling["growth"].items()}
    return {**extras, "scaling": {**scaling, "growth": growth}}
