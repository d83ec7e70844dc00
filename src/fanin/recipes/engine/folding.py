"""Constants of shaped activations, folded into the weights and biases of a plain stack.

Deep Kernel Shaping and Tailored Activations replace each activation phi by phi_hat(x) = s_o (phi(s_i x + b_i) + b_o).
Between two maps these four constants are weights and biases: with Q orthogonal, the map W = s_i s_o Q with the bias
b_i + b_o (row sums of W) gives the same network without a new activation. s_i and b_i are those of the activation
behind the map, s_o and b_o those of the one before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fanin.errors import PlanError, TheoryError
from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.ir import Op
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Constant, DeltaOrthogonal, Initializer, Orthogonal, RowSums
from fanin.model.operations import ELEMENTWISE, RESHAPES, SAME_NUMBERS
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step
from fanin.theory.shaping import ShapedActivation

__all__ = ["Fold", "Shaper", "bias_draft", "folds", "obstacle", "weight_draft"]

_MAPS = frozenset({"linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "einsum", "conv1d", "conv2d", "conv3d"})
_SAME_UNITS = RESHAPES | SAME_NUMBERS | {"t"}
_MEANS = frozenset(f"{kind}avg_pool{d}d" for kind in ("", "adaptive_", "_adaptive_") for d in (1, 2, 3)) | {"mean"}

Shaper = Callable[[FoundActivation, int], ShapedActivation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One map of the stack, and the constants beside it.

    Attributes:
        role: the weight.
        before: constants of the activation that it reads; None for the first map.
        behind: those of the activation that follows; None for the last map.
        depth: activations of the stack.
        source: of the constants.
        size: rms of the output of the last map.
        spread: q of the input at which the constants hold, in units of its mean; 1 where q is the same everywhere.
    """

    role: ParameterRole
    before: ShapedActivation | None
    behind: ShapedActivation | None
    depth: int
    source: str
    size: float = 1.0
    spread: float = 1.0

    @property
    def gain(self) -> float:
        """s_i of the activation that follows, or the size of the output, times s_o of the one before."""
        scale = self.size if self.behind is None else self.behind.input_scale
        return scale * (1.0 if self.before is None else self.before.output_scale)

    @property
    def shift(self) -> float:
        """b_i of the activation that follows; 0 where there is none."""
        return 0.0 if self.behind is None else self.behind.input_shift


# ---------------------------------------------------------------------- what can be folded
def folds(network: Network, recipe: str, shape: Shaper, source: str) -> dict[str, Fold]:
    """Every map of the stack with its constants, by the name of its weight.

    Raises:
        PlanError: the network is no plain stack, or something in it cannot take the constants.
    """
    chain = network.roles.stack
    if len(chain) < 2:
        raise PlanError(
            f"{recipe} is made for plain stacks: maps and activations in one chain, without norms, skips, gates, "
            "attention or recurrence, and this network is none. Use recipe='auto'."
        )
    roles, depth = [network.roles[name] for name, _ in chain], len(chain) - 1
    if why := obstacle(network, roles):
        raise PlanError(f"{recipe} cannot fold its constants into this network: {why}. Use recipe='auto'.")
    found: list[ShapedActivation] = []
    for role, activation in chain[:-1]:
        if activation is None or activation.is_affine:
            raise PlanError(f"{recipe} shapes activations, and none follows {role}. Use recipe='auto'.")
        try:
            found.append(shape(activation, depth))
        except TheoryError as error:
            raise PlanError(f"{recipe} cannot shape the activation behind {role}: {error}") from error
    sides = zip(roles, (None, *found), (*found, None), strict=True)
    return {
        role.name: Fold(role=role, before=before, behind=behind, depth=depth, source=source)
        for role, before, behind in sides
    }


def obstacle(network: Network, roles: list[ParameterRole]) -> str:
    """What keeps constants from being folded into these maps; "" where nothing does."""
    for role in roles:
        if why := _map_obstacle(network, role):
            return f"{role.name} {why}"
    for role, reader in itertools.pairwise(roles):
        between = network.graph.ops[role.uses[0].op + 1 : reader.uses[0].op]
        if op := next((op for op in between if op.output not in network.weight_only and not _passes(op)), None):
            return f"{op.name} stands between {role.name} and {reader.name}, and it does not pass a shift on"
    return ""


def _map_obstacle(network: Network, role: ParameterRole) -> str:
    layout = role.layout
    if role.name in network.kept or role.bias in network.kept:
        return "or its bias stays as it is (frozen or loaded)"
    if not role.bias:
        return "has no bias to hold a shift"
    if role.uses[0].chain or layout.groups > 1 or layout.batch_axes or len(role.parts) > 1 or layout.multiplied:
        return "is reparametrized, grouped, stacked or bilinear"
    if layout.tap_axes and (layout.transposed or not _is_centred(role)):
        return "is a transposed convolution, or its middle tap reads padding"
    return ""


def _is_centred(role: ParameterRole) -> bool:
    """Whether the middle tap of a convolution always reads the signal, so that a delta kernel meets no padding."""
    use, taps = role.uses[0], [role.shape[a] for a in role.layout.tap_axes]
    if isinstance(use.padding, str):
        return use.padding == "valid" or all(k % 2 for k in taps)
    padding, dilation = use.padding or (0,) * len(taps), use.dilation or (1,) * len(taps)
    return all(p <= (k - 1) // 2 * d for k, p, d in zip(taps, padding, dilation, strict=True))


def _passes(op: Op) -> bool:
    """Whether a constant that is added to every unit before an operation arrives behind it unchanged."""
    if op.name in _MAPS or op.name in ELEMENTWISE or op.name in _SAME_UNITS:
        return True
    padding = op.arg(3, "padding", 0) if op.name.startswith("avg_pool") else 0
    return op.name in _MEANS and not any(padding if isinstance(padding, (tuple, list)) else (padding,))


# ---------------------------------------------------------------------- laws
def _weight_law(role: ParameterRole, gain: float) -> Initializer:
    if role.layout.tap_axes:
        return DeltaOrthogonal(gain=gain, scaled=True)
    return Orthogonal(gain=gain, scaled=True)


def weight_draft(fold: Fold) -> Draft:
    """The draft of a map's weight: orthogonal, a delta kernel for convolutions, times the scales beside it."""
    role = fold.role

    def make(read: Read) -> Made:
        gain = _gain(fold, read)
        return Made(law=_weight_law(role, gain), steps=_steps(fold, read, gain), var=_variance(fold, read, gain))

    place = "first map" if fold.before is None else "output layer" if fold.behind is None else "hidden map"
    return Draft(
        rule="shaped",
        reason=f"{place} of a stack of {fold.depth} activations: orthogonal, times the constants of the activations "
        "beside it",
        make=make,
    )


def _gain(fold: Fold, read: Read) -> float:
    """The factor of Q; the first map also divides by the rms of the input, which the constants take to be 1."""
    return fold.gain / ((fold.spread * read.second_moment) ** 0.5 if fold.before is None else 1.0)


def _variance(fold: Fold, read: Read, gain: float) -> float | None:
    """Variance of independent entries whose map gives the variance that this one gives: the bias takes the mean off."""
    spread = read.second_moment - read.mean**2
    if fold.before is None or not spread > 0.0:
        return None
    return gain**2 * spread / (float(fold.role.fan_in or 1.0) * read.second_moment)


def bias_draft(fold: Fold) -> Draft:
    """The draft of a map's bias: the input shift behind it, and its row sums times the output shift before it."""
    weight = fold.role

    def make(read: Read) -> Made:
        if fold.before is None:
            return Made(law=Constant(fold.shift), steps=(_step("b_i", fold),), var=0.0, mean=fold.shift)
        law = RowSums(
            law=_weight_law(weight, fold.gain),
            of=weight.name,
            size=weight.shape,
            layout=weight.layout,
            factor=fold.before.output_shift,
            shift=fold.shift,
        )
        steps = (*((_step("b_i", fold),) if fold.behind is not None else ()), _step("b_o", fold))
        return Made(law=law, steps=steps, var=0.0, mean=fold.shift)

    where = "b_i" if fold.before is None else "b_o (row sums)" if fold.behind is None else "b_i + b_o (row sums)"
    return Draft(rule="shaped bias", reason=f"{where}: the shifts of the activations beside {weight.name}", make=make)


_FORMULAS: Mapping[str, str] = {
    "s_i": "input scale of the activation that follows",
    "b_i": "input shift of the activation that follows",
    "s_o": "output scale of the activation before",
    "b_o": "output shift of the activation before: added to each of the map's inputs",
}


def _step(name: str, fold: Fold) -> Step:
    behind, before = fold.behind, fold.before
    values = {
        **({} if behind is None else {"s_i": behind.input_scale, "b_i": behind.input_shift}),
        **({} if before is None else {"s_o": before.output_scale, "b_o": before.output_shift}),
    }
    return Step(quantity=name, value=values[name], formula=_FORMULAS[name], source=fold.source)


def _steps(fold: Fold, read: Read, gain: float) -> tuple[Step, ...]:
    first = Step(quantity="E x²", value=read.second_moment, formula=read.words())
    names = (*(("s_i",) if fold.behind is not None else ()), *(("s_o",) if fold.before is not None else ()))
    last = Step(quantity="gain", value=gain, formula=_gain_formula(fold, names))
    begins = (first, *_spread(fold)) if fold.before is None else ()
    return (*begins, *(_step(n, fold) for n in names), last)


def _gain_formula(fold: Fold, names: tuple[str, ...]) -> str:
    if fold.before is not None:
        return " ".join(names)
    return "s_i / sqrt(E x²)" if fold.spread == 1.0 else "s_i / sqrt(spread E x²)"


def _spread(fold: Fold) -> tuple[Step, ...]:
    """The line of the spread, where it is not 1."""
    formula = "sqrt(E q²) / E q of the input, q = mean square of what one place of a sample gives the map"
    return () if fold.spread == 1.0 else (Step(quantity="spread", value=fold.spread, formula=formula),)
