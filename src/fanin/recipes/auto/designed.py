"""Weights that their module starts by design: of no size, of one sign, at a constant; shares of a mixture."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import CONTRACTIONS, JOINS, VIEWS
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft, reason
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.effective import effective, functions, is_shaped, operands
from fanin.recipes.engine.network import Network
from fanin.tensors.shards import whole_here
from fanin.tensors.values import as_real

if TYPE_CHECKING:
    import torch

__all__ = [
    "adds_nothing",
    "before_constant",
    "constant_bias",
    "constant_map",
    "identity",
    "share",
    "signs",
    "sizeless",
    "with_sign",
]

_MOST_NUMBERS = 1 << 24  # of a weight that is asked
_MOST_OPS = 64  # on the ways from a map; what is longer is not followed
_ALIKE = 1e-4  # relative difference of two weights that are the same but for rounding
_MEAN_SHARE = 0.1  # of the second moment of the weight that is made, from which the weight has one sign
_SEED = 0
_FEWEST_UNITS = 3  # by which an identity can be told from chance
_NOISE = 0.1  # rms of the noise around an identity, of it
_FEWEST_SIGNS = 8
_PLACES = frozenset({"affine_grid_generator", "affine_grid", "grid_sampler", "grid_sample", "deform_conv2d"})
_BESIDE = JOINS | {"add", "sub"}  # a constant beside or on top of a signal steers nothing
_SUMS = (CONTRACTIONS | {"scaled_dot_product_attention"}) - _PLACES


# ---------------------------------------------------------------------- what the model makes of a parameter
def sizeless(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A weight that the model divides by its own size (v / |v|, spectral norm): it keeps the size that it was found at.

    No signal depends on that size. It sets how far a step of an optimizer turns the weight, and the module chose it.
    """
    if not is_shaped(role) or not _asked(network, role, lambda f, w: _same(f(2.0 * w), f(w))):
        return None
    own = network.own(role.name)
    found = 0.0 if own is None else float(np.sqrt(np.square(own, dtype=np.float64).mean()))
    usual = 1.0 / math.sqrt(float(role.fan_in or 1.0))
    if not (math.isfinite(found) and found > 0.0):
        return draft("sizeless", lambda read: (Number("std", usual, "sizeless"),))
    return draft("sizeless", lambda read: (Number("std", found, "sizeless found"),))


def with_sign(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A weight made by a function that leaves it one sign (softplus, exp, square): the numbers found stay.

    No law of mean zero has outputs of mean zero there. What the module drew was chosen for that function.
    """
    if not is_shaped(role) or not _asked(network, role, lambda f, w: _mean_share(f(w)) > _MEAN_SHARE):
        return None
    return fixed(None, rule="designed", reason=reason("one sign", function=functions(role)), action="keep")


def _asked(network: Network, role: ParameterRole, holds: Callable[[Any, torch.Tensor], bool]) -> bool:
    """Whether something holds of the weight that the model makes of normal numbers in the place of a parameter."""
    import torch

    live, operand = whole_here(network.tensors.get(role.name)), next(iter(operands(network, role)), None)
    if live is None or operand is None or not live.is_floating_point() or not 1 < live.numel() < _MOST_NUMBERS:
        return False
    drawn = torch.randn(tuple(live.shape), generator=torch.Generator().manual_seed(_SEED)).to(live.device, live.dtype)
    try:
        with torch.no_grad():
            return holds(lambda w: as_real(effective(network, role, operand, w)).double(), drawn)
    except Exception:  # an operation that does not run alone says nothing of the weight
        return False


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    size = float(two.abs().max())
    return 0.0 < size < math.inf and float((one - two).abs().max()) <= _ALIKE * size


def _mean_share(weight: torch.Tensor) -> float:
    second = float(weight.square().mean())
    return float(weight.mean()) ** 2 / second if 0.0 < second < math.inf else 0.0


# ---------------------------------------------------------------------- starts told by their numbers
def identity(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map that its module starts at the identity, or a multiple, with at most little noise: a chain, a memory.

    Each of several maps in one tensor is one. Signals pass it as they are, whatever the depth (Le et al. 2015, arXiv
    1504.00941, section 2, for a recurrence); numbers drawn anew in the cores of a tensor network do not.
    """
    live, pair = network.live(role.name), _square(role)
    if live is None or pair is None or not np.isfinite(live).all():
        return None
    out, units = pair
    side, diagonal = live.shape[out], np.diagonal(live, axis1=out, axis2=units)
    if float(diagonal.var()) > side * (_NOISE * float(diagonal.mean())) ** 2:  # most weights: no copy is made
        return None
    maps = np.moveaxis(np.asarray(live, dtype=np.float64), (out, units), (-2, -1)).reshape(-1, side, side)
    size = float(np.trace(maps, axis1=1, axis2=2).mean()) / maps.shape[-1]
    noise = maps - size * np.eye(maps.shape[-1])
    if not abs(size) > 0.0 or float(np.square(noise).mean()) > (_NOISE * size) ** 2:
        return None
    return fixed(None, rule="designed", reason=reason("identity"), action="keep")


def _square(role: ParameterRole) -> tuple[int, int] | None:
    """The two axes along which each map of a weight is a square: outputs and inputs, or those of a matrix it makes."""
    layout = role.layout
    pair = (*layout.out_axes, *layout.in_axes)[:2] if len(layout.out_axes) == 1 else layout.out_axes[-2:]
    if len(pair) != 2 or layout.tap_axes or layout.view or layout.groups > 1:
        return None
    sizes = {role.shape[a] for a in pair}
    return (pair[0], pair[1]) if len(sizes) == 1 and min(sizes) >= _FEWEST_UNITS else None


def signs(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """Numbers that are all plus or minus one size: random signs, as the members of an ensemble get them."""
    live = network.live(role.name)
    if live is None or live.size < _FEWEST_SIGNS:
        return None
    size = abs(live.flat[0])
    if abs(live.flat[1]) != size or not bool((np.abs(live) == size).all()):  # most weights: nothing is read but two
        return None
    if not (bool((live > 0.0).any()) and bool((live < 0.0).any())):
        return None
    return fixed(None, rule="designed", reason=reason("signs"), action="keep")


def constant_map(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map that its module starts at zero beside a bias of its own choice: it starts as a constant (an identity view).

    The constant must steer a signal that varies: a gate, a view, a scale. Where it is all that goes on, the network is
    one of zeros, which nobody designed. A map of zeros that chooses places to read from (a grid, the offsets of a
    deformable convolution) is one with any bias. At the end of a residual branch zeros are no such choice: `auto` has
    its own factor there.
    """
    if role.use is None or role.branch is not None or not network.is_zero(role.name):
        return None
    if not ((_chosen_bias(network, role) or _places(role)) and _steers(network, role)):
        return None
    return fixed(None, rule="designed", reason=reason("constant map"), action="keep")


def _steers(network: Network, role: ParameterRole) -> bool:
    """Whether the constant that a map of zeros gives meets a signal that varies, on any way from the map.

    A product of sums with one number everywhere leaves all units alike, so that is no meeting.
    """
    alike = not role.bias or network.is_one_number(role.bias)  # without a bias the constant is 0
    without = _BESIDE | _SUMS if alike else _BESIDE
    todo, seen = [network.graph.ops[u.op].output for u in role.uses], set[int]()
    while todo:
        for op in network.graph.consumers(todo.pop()):
            if op.index in seen:
                continue
            seen.add(op.index)
            if network.varying.isdisjoint(op.outputs):
                todo += op.outputs
            elif op.name not in without:
                return True
    return False


def adds_nothing(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map of zeros whose outputs are added to a signal that varies: a correction that starts at none.

    So an adapter, or what experts add of their own, starts. A network of which it is the only way has no such signal,
    and at the end of a residual branch `auto` has a factor of its own.
    """
    if (
        not network.is_zero(role.name)
        or not role.uses
        or any(u.branch is not None and u.branch.writes for u in role.uses)
    ):
        return None
    if not all(_meets_a_signal(network, network.graph.ops[u.op].output) for u in role.uses):
        return None
    return fixed(None, rule="designed", reason=reason("adds nothing"), action="keep")


def _meets_a_signal(network: Network, value: int) -> bool:
    """Whether views of a value are added to another one that varies, and nothing else reads it."""
    for _ in range(_MOST_OPS):
        readers = network.graph.consumers(value)
        if len(readers) != 1:
            return False
        op = readers[0]
        if op.name == "add":
            return any(v != value and v in network.varying for v in op.inputs)
        if op.name not in VIEWS:
            return False
        value = op.output
    return False


def before_constant(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map that only such a map reads: no signal depends on it at step 0, so nothing is gained by another size.

    Its size sets how fast that map leaves zero, and the module chose both.
    """
    if role.use is None or not _reaches_constants_alone(network, role, options):
        return None
    return fixed(None, rule="designed", reason=reason("before constant"), action="keep")


def _reaches_constants_alone(network: Network, role: ParameterRole, options: AutoOptions) -> bool:
    """Whether every way from a map leads to a map that starts as a constant, through at least one."""
    ends = {o.value for o in network.graph.outputs}
    todo, seen, found = [network.graph.ops[u.op].output for u in role.uses], set[int](), False
    while todo:
        value = todo.pop()
        if value in ends or len(seen) > _MOST_OPS:
            return False
        for op in network.graph.consumers(value):
            name = network.weight_of_op.get(op.index)
            if name is not None and constant_map(network, network.roles.parameters[name], options) is not None:
                found = True
            elif op.index not in seen:
                seen.add(op.index)
                todo += op.outputs
    return found


def constant_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The bias of a map that starts as a constant, or that only such a map reads."""
    owner = network.roles.parameters.get(role.owner)
    if owner is None or owner.role != "weight":
        return None
    if constant_map(network, owner, options) is not None:
        return fixed(None, rule="designed", reason=reason("constant bias", map=owner.name), action="keep")
    return before_constant(network, owner, options)


_DIFFERENCES = frozenset({"add", "sub", "rsub"})  # of a signal and a number


def spread_over(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """Numbers that differ, which a signal without an axis for them is spread over: a grid for all units, thresholds."""
    live = network.live(role.name)
    if live is None or live.ndim != 1 or len(live) < 2 or network.is_one_number(role.name) or not role.uses:
        return None
    graph = network.graph
    for op in (graph.ops[u.op] for u in role.uses):
        signals = [graph.values[i].shape for i in op.inputs if i in network.varying]
        spread = bool(signals) and all(s[-1:] == (1,) for s in signals)
        if op.name not in _DIFFERENCES or not spread or graph.values[op.output].shape[-1:] != live.shape:
            return None
    return fixed(None, rule="designed", reason=reason("laid out"), action="keep")


def _chosen_bias(network: Network, role: ParameterRole) -> bool:
    """Whether a bias holds one number other than zero, or any beyond the law that torch draws biases from."""
    live = network.live(role.bias) if role.bias else None
    if live is None or not live.size or not np.isfinite(live).all() or not live.any():
        return False
    return network.is_one_number(role.bias) or float(np.abs(live).max()) > _BEYOND / math.sqrt(
        float(role.fan_in or 1.0)
    )


_BEYOND = 1.01  # of the bound of torch's biases, 1 / sqrt(fan_in)


def _places(role: ParameterRole) -> bool:
    return role.use is not None and any(t.removeprefix("op:") in _PLACES for t in role.use.tags)


def share(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A parameter w of which the model also uses 1 - w: the shares of a mixture, not the scale of a norm."""
    if not any("rsub" in use.chain for use in role.uses):
        return None
    return fixed(None, rule="designed", reason=reason("share"), action="keep")
