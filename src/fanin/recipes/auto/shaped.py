"""Shaped stacks: deep plain stacks that keep similar and unlike inputs apart by Deep Kernel Shaping."""

from __future__ import annotations

from dataclasses import replace

from fanin.errors import PlanError, TheoryError
from fanin.graph.analysis.activations import FoundActivation
from fanin.recipes.auto.evidence import SHAPED_FROM, SHAPED_LOGISTIC_FROM
from fanin.recipes.auto.heads import output_rms
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.stack import Stack
from fanin.recipes.auto.wording import zero
from fanin.recipes.engine.activation_facts import is_bounded, is_odd, theory_name
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.folding import Fold, bias_draft, folds, weight_draft
from fanin.recipes.engine.network import Network
from fanin.theory.shaping import ShapedActivation, dks

__all__ = ["shaped"]

_SOURCE = "Martens et al. 2021, arXiv 2110.01765"


def shaped(network: Network, stack: Stack, options: AutoOptions, *, is_centred: bool) -> dict[str, Draft]:
    """Drafts for the maps of a deep dense stack and their biases; {} where another start is as good or nothing fits.

    Args:
        network: the captured model.
        stack: its maps.
        options: of the recipe.
        is_centred: whether the activation has a mean so large that shallower stacks are centred (logistic units).
    """
    least = SHAPED_LOGISTIC_FROM if is_centred else SHAPED_FROM
    odd = is_odd(stack.activation) and is_bounded(stack.activation)
    if not stack.is_dense or stack.num_hidden < least or odd:
        return {}
    try:
        found = folds(network, "auto", _shape, _SOURCE)
    except (PlanError, TheoryError):
        return {}
    return _drafts(found, stack, options)


def _shape(activation: FoundActivation, depth: int) -> ShapedActivation:
    """Constants of an activation with a continuous slope: with a jump (SELU) the orthogonal start trained better."""
    constants = dks(theory_name(activation), depth=depth)
    if constants.curvature == float("inf"):
        raise TheoryError(f"the slope of {activation.label} jumps; use an activation with a continuous slope")
    return constants


def _drafts(found: dict[str, Fold], stack: Stack, options: AutoOptions) -> dict[str, Draft]:
    head = stack.maps[-1]
    sized = {**found, head.name: replace(found[head.name], size=output_rms(options))}
    drafts = {name: weight_draft(fold) for name, fold in sized.items()}
    drafts |= {fold.role.bias: bias_draft(fold) for fold in sized.values()}
    if options.head == "zero":
        drafts |= {head.name: zero("zero head"), head.bias: zero("zero head")}
    return {name: replace(draft, evidence=draft.evidence or "shaped") for name, draft in drafts.items()}
