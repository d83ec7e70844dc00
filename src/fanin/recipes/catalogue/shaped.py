"""``dks`` and ``tat``: Deep Kernel Shaping and Tailored Activations, folded into weights and biases."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.errors import ArgumentError
from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.recipes.base import Chosen, Live, Recipe
from fanin.recipes.engine.activation_facts import theory_name
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.folding import Shaper, bias_draft, folds, weight_draft
from fanin.recipes.engine.network import network_of
from fanin.recipes.engine.place import place
from fanin.recipes.engine.table_recipe import COMMON
from fanin.theory.shaping import ShapedActivation, dks, tat

__all__ = ["DKS", "TAT", "DksOptions", "TatOptions"]

_DKS = "Martens et al. 2021, arXiv 2110.01765"
_TAT = "Zhang, Botev, Martens 2022, arXiv 2203.08120, section 4.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class DksOptions:
    """Options of ``dks``.

    Attributes:
        total_slope: slope at 1 of the correlation map of the whole stack, > 1; the paper's zeta.
    """

    total_slope: float = 1.5

    def __post_init__(self) -> None:
        if not self.total_slope > 1.0:
            raise ArgumentError(f"total_slope is a number > 1; got {self.total_slope!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TatOptions:
    """Options of ``tat``.

    Attributes:
        total_curvature: second derivative at 1 of the correlation map, summed over the stack, > 0; the paper's tau.
    """

    total_curvature: float = 0.3

    def __post_init__(self) -> None:
        if not self.total_curvature > 0.0:
            raise ArgumentError(f"total_curvature is a number > 0; got {self.total_curvature!r}")


# ---------------------------------------------------------------------- the recipes
def _chosen(live: Live, recipe: str, shape: Shaper, source: str) -> Chosen:
    network = network_of(live)
    found = folds(network, recipe, shape, source)
    owners = {fold.role.bias: fold for fold in found.values()}

    def draft_of(role: ParameterRole) -> Draft | None:
        if role.name in found:
            return weight_draft(found[role.name])
        if role.name in owners:
            return bias_draft(owners[role.name])
        rule = COMMON.get(role.role)
        return None if rule is None else rule(network, role, None)

    return place(live, network, draft_of)


def _choose_dks(live: Live, options: DksOptions) -> Chosen:
    def shape(activation: FoundActivation, depth: int) -> ShapedActivation:
        return dks(theory_name(activation), depth=depth, total_slope=options.total_slope)

    return _chosen(live, "dks", shape, _DKS)


def _choose_tat(live: Live, options: TatOptions) -> Chosen:
    def shape(activation: FoundActivation, depth: int) -> ShapedActivation:
        return tat(theory_name(activation), depth=depth, total_curvature=options.total_curvature)

    return _chosen(live, "tat", shape, _TAT)


DKS = Recipe(
    name="dks",
    summary="plain stacks: Deep Kernel Shaping in weights and biases",
    choose=_choose_dks,
    options=DksOptions,
    source=_DKS,
)
TAT = Recipe(
    name="tat",
    summary="plain stacks: Tailored Activations in weights and biases",
    choose=_choose_tat,
    options=TatOptions,
    source=_TAT,
)
