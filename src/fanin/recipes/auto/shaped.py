"""Shaped stacks: plain stacks that keep similar and unlike inputs apart by Deep Kernel Shaping.

Deep ones; and those of any depth whose activation enlarges differences of size (powers), or gives mostly its mean.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fanin.errors import PlanError, TheoryError
from fanin.graph.analysis.activations import FoundActivation
from fanin.recipes.auto.evidence import HEAVY_MEAN, NEAR_ZERO, POWER, SHAPED_FROM, SHAPED_LOGISTIC_FROM
from fanin.recipes.auto.heads import output_rms
from fanin.recipes.auto.inputs import size_spread
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.stack import Stack
from fanin.recipes.auto.wording import zero
from fanin.recipes.engine.activation_facts import is_bounded, is_odd, moments_of, size_slope, theory_name
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.folding import Fold, bias_draft, folds, weight_draft
from fanin.recipes.engine.network import Network
from fanin.theory.shaping import ShapedActivation, dks, shifted

__all__ = ["is_power", "shaped"]

_SOURCE = "Martens et al. 2021, arXiv 2110.01765"


def shaped(network: Network, stack: Stack, options: AutoOptions, *, is_centred: bool) -> dict[str, Draft]:
    """Drafts for the maps of a deep dense stack and their biases; {} where another start is as good or nothing fits.

    Args:
        network: the captured model.
        stack: its maps.
        options: of the recipe.
        is_centred: whether the activation has a mean so large that shallower stacks are centred (logistic units).
    """
    power = is_power(stack.activation)
    if not (stack.is_dense or power) or stack.num_hidden < _from_depth(stack, is_power=power, is_centred=is_centred):
        return {}
    try:
        found = folds(network, "auto", _shape_power if power else _shape, _SOURCE)
    except (PlanError, TheoryError):
        return {}
    return _drafts(_at_spread(network, found, stack) if power else found, stack, options)


def _at_spread(network: Network, found: dict[str, Fold], stack: Stack) -> dict[str, Fold]:
    """The folds with constants that hold where the input is large.

    Behind a power, a place of four times the mean square is one of sixteen times it a layer later.
    """
    first = stack.maps[0]
    return {**found, first.name: replace(found[first.name], spread=size_spread(network, first))}


def _from_depth(stack: Stack, *, is_power: bool, is_centred: bool) -> float:
    """Number of hidden layers from which such a stack is shaped."""
    if is_centred:
        return SHAPED_LOGISTIC_FROM
    m = moments_of(stack.activation)
    if is_power or (m is not None and m.var > 0.0 and m.mean**2 / m.second >= HEAVY_MEAN):
        return 1
    return math.inf if is_odd(stack.activation) and is_bounded(stack.activation) else SHAPED_FROM


def is_power(activation: FoundActivation) -> bool:
    """Whether a layer turns differences of size into larger ones also near zero: x^2, relu(x)^2, log cosh."""
    return size_slope(activation, NEAR_ZERO) >= POWER


def _shape(activation: FoundActivation, depth: int) -> ShapedActivation:
    """Constants of an activation with a continuous slope: with a jump (SELU) the orthogonal start trained better."""
    constants = dks(theory_name(activation), depth=depth)
    if constants.curvature == float("inf"):
        raise TheoryError(f"the slope of {activation.label} jumps; use an activation with a continuous slope")
    return constants


def _shape_power(activation: FoundActivation, depth: int) -> ShapedActivation:
    """Constants of a power; by a shift alone where scaling the input changes nothing."""
    try:
        return dks(theory_name(activation), depth=depth)
    except TheoryError:
        return shifted(theory_name(activation), depth=depth)


def _drafts(found: dict[str, Fold], stack: Stack, options: AutoOptions) -> dict[str, Draft]:
    head = stack.maps[-1]
    sized = {**found, head.name: replace(found[head.name], size=output_rms(options))}
    drafts = {name: weight_draft(fold) for name, fold in sized.items()}
    drafts |= {fold.role.bias: bias_draft(fold) for fold in sized.values()}
    if options.head == "zero":
        drafts |= {head.name: zero("zero head"), head.bias: zero("zero head")}
    return {name: replace(draft, evidence=draft.evidence or "shaped") for name, draft in drafts.items()}
