"""How learning rate, weight decay and eps of one parameter change with the width, by optimizer.

A weight of `fan_in` inputs and `fan_out` outputs is compared with the same weight at a base width: its inputs grow by
`inputs`, its outputs by `outputs`. One step should change what the weight computes by as much as at the base, whatever
the width: its change must have a spectral norm that grows as sqrt(outputs / inputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fanin.errors import ArgumentError, UnknownNameError, did_you_mean, sentence

__all__ = ["OPTIMIZERS", "Growth", "Kind", "Multipliers", "folded", "multipliers", "muon_multipliers", "tied_note"]

Kind = Literal["input", "hidden", "readout", "fixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How much larger a parameter is than at the base width.

    Attributes:
        inputs: its fan_in over that at the base, > 0; 1 for a bias, a norm, a table.
        outputs: its number of outputs over that at the base, > 0.

    Raises:
        ArgumentError: a growth that is not a positive finite number.

    Example:
        >>> Growth(inputs=4.0, outputs=4.0).kind, Growth(inputs=4.0, outputs=1.0).kind, Growth(outputs=4.0).kind
        ('hidden', 'readout', 'input')
    """

    inputs: float = 1.0
    outputs: float = 1.0

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ArgumentError(f"the growth of {name} is a finite number > 0; got {value!r}")

    @property
    def kind(self) -> Kind:
        """Which sides grow: "input" (outputs alone), "hidden" (both), "readout" (inputs alone), "fixed" (none)."""
        if self.inputs != 1.0:
            return "hidden" if self.outputs != 1.0 else "readout"
        return "input" if self.outputs != 1.0 else "fixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """What the options of an optimizer are multiplied by for one parameter; all 1 at the base.

    Attributes:
        lr: of the learning rate.
        weight_decay: of the weight decay.
        eps: of the number that an adaptive optimizer adds to the root mean square of the gradient.
    """

    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0


def _adaptive(growth: Growth) -> Multipliers:
    """Every entry moves by the rate, and `inputs` of them add up; gradients of entries fall as 1 / outputs."""
    return Multipliers(lr=1.0 / growth.inputs, weight_decay=growth.inputs, eps=1.0 / growth.outputs)


def _gradient(growth: Growth) -> Multipliers:
    """The step is the gradient: its entries fall as 1 / outputs, and `inputs` of them add up."""
    lr = growth.outputs / growth.inputs
    return Multipliers(lr=lr, weight_decay=1.0 / lr)


# optimizer -> (multipliers of a growth, power of a folded factor that its rate takes, whether it has an eps)
_Rule = tuple[Callable[[Growth], Multipliers], int, bool]
_RULES: Mapping[str, _Rule] = {
    "adamw": (_adaptive, 1, True),
    "adam": (_adaptive, 1, True),
    "sgd": (_gradient, 2, False),
}
OPTIMIZERS: tuple[str, ...] = (*_RULES, "muon")


def _rule(optimizer: str) -> _Rule:
    if optimizer not in _RULES:
        raise UnknownNameError(
            f"no multipliers are known for the optimizer {optimizer!r}; "
            f"{sentence(did_you_mean(optimizer, OPTIMIZERS))} "
            "Each optimizer answers in its own way to a wider gradient, so none is assumed."
        )
    return _RULES[optimizer]


def multipliers(optimizer: str, growth: Growth) -> Multipliers:
    """Multipliers of maximal update parametrization without multipliers in the forward pass.

    With inputs = i and outputs = o of `growth`: Adam and AdamW have the rate 1 / i, the decay i (so that rate times
    decay stays) and eps 1 / o. SGD has the rate o / i and the decay i / o.

    Args:
        optimizer: "adamw", "adam" or "sgd".
        growth: of the parameter.

    Raises:
        UnknownNameError: another optimizer.

    Source: Yang et al. 2022 (arXiv 2203.03466, table 3 with the multiplier of the output layer moved into its law and
    rate); Yang, Simon, Bernstein 2023 (arXiv 2310.17813, eq. 4).

    Example:
        >>> readout = Growth(inputs=8.0)
        >>> multipliers("adamw", readout).lr, multipliers("sgd", readout).lr, multipliers("sgd", Growth(outputs=8.0)).lr
        (0.125, 0.125, 8.0)
    """
    return _rule(optimizer)[0](growth)


def muon_multipliers(shape: tuple[float, float], base: tuple[float, float], adjust: str = "original") -> Multipliers:
    """Multipliers for Muon, whose step has the spectral norm of the rate times a factor of the shape.

    The factor is sqrt(max(1, out / in)) for "original", 0.2 sqrt(max(out, in)) for "match_rms_adamw"
    (``torch.optim.Muon``); the step should grow as sqrt(out / in).

    Args:
        shape: (outputs, inputs) of the matrix.
        base: the same at the base width.
        adjust: "original" or "match_rms_adamw", as ``adjust_lr_fn`` of ``torch.optim.Muon``.

    Raises:
        UnknownNameError: another `adjust`.

    Source: Yang, Simon, Bernstein 2023, arXiv 2310.17813, condition 1.

    Example:
        >>> muon_multipliers((64, 64), (16, 16)).lr, muon_multipliers((64, 64), (16, 16), "match_rms_adamw").lr
        (1.0, 0.5)
    """
    factors: Mapping[str, Callable[[float, float], float]] = {
        "original": lambda out, inputs: math.sqrt(max(1.0, out / inputs)),
        "match_rms_adamw": lambda out, inputs: 0.2 * math.sqrt(max(out, inputs)),
    }
    if adjust not in factors:
        raise UnknownNameError(f"there is no adjust_lr {adjust!r}; {did_you_mean(adjust, factors)}")

    def wanted(out: float, inputs: float) -> float:
        return math.sqrt(out / inputs) / factors[adjust](out, inputs)

    lr = 1.0 if shape == base else wanted(*shape) / wanted(*base)
    return Multipliers(lr=lr, weight_decay=1.0 / lr)


def folded(optimizer: str, factor: float) -> Multipliers:
    """What a factor of the forward pass becomes when it is folded into a weight.

    y = f W z trained at rate eta is y = V z with V = f W: Adam and AdamW train V at the rate f eta with decay / f and
    eps / f, Muon at f eta with decay / f, SGD at f^2 eta with decay / f^2. The two runs give the same outputs.

    Args:
        optimizer: "adamw", "adam", "sgd" or "muon".
        factor: f > 0.

    Raises:
        UnknownNameError: another optimizer.
        ArgumentError: a factor that is not > 0.

    Example:
        >>> folded("adamw", 0.25), folded("sgd", 0.25).lr
        (Multipliers(lr=0.25, weight_decay=4.0, eps=4.0), 0.0625)
    """
    if not 0.0 < factor < math.inf:
        raise ArgumentError(f"a factor that is folded into a weight is finite and > 0; got {factor!r}")
    _, power, has_eps = (_adaptive, 1, False) if optimizer == "muon" else _rule(optimizer)
    rate = factor**power
    return Multipliers(lr=rate, weight_decay=1.0 / rate, eps=1.0 / factor if has_eps else 1.0)


def tied_note(name: str, growth: float) -> str:
    """What to know of a weight that is both table and output layer, in a model that is so many times as wide.

    As a table it asks for the same law and rate at every width, as an output layer for smaller ones; one weight has one
    of each. The package mup multiplies the logits in the forward pass instead (`MuSharedReadout`), which changes the
    model.

    Example:
        >>> tied_note("wte.weight", 4.0).partition(":")[0]
        'wte.weight is both table and output layer'

    Source:
        Yang et al. 2022, arXiv 2203.03466; `MuSharedReadout` in github.com/microsoft/mup.
    """
    return (
        f"{name} is both table and output layer: it takes the law and the rate of an output layer, so the table learns "
        f"{growth:.3g} times as slowly as at the base width. No law and rate of one weight suit both, and a factor on "
        "the logits in the forward pass, with which the package mup has both (MuSharedReadout), cannot be folded into "
        "this weight without changing the table. Untie the two to have both"
    )
