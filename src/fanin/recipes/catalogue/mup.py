"""``mup``: maximal update parametrization: stds by the width, and the learning-rate groups that they need.

The groups are data (``plan.extras["groups"]``): for each the parameters, and what learning rate, weight decay and eps
are multiplied by relative to the base width. Without them the stds alone are not muP. `base_width` is a shorthand: it
takes every size that grows to grow by width / base_width. ``fanin.param_groups(model, plan, base=...)`` compares the
shapes of a base model instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fanin.errors import ArgumentError
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal, Zeros
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import is_head, law, table_recipe
from fanin.recipes.engine.transfer_facts import is_applied_both_ways
from fanin.theory.transfer import Growth, Kind, multipliers, tied_note

__all__ = ["MUP", "MupOptions"]

_SOURCE = "Yang et al. 2022, arXiv 2203.03466, table 8"
_MAPS = ("weight", "rnn_ih", "rnn_hh")


@dataclass(frozen=True, slots=True, kw_only=True)
class MupOptions:
    """Options of ``mup``.

    Attributes:
        base_width: width at which the hyperparameters were tuned; there every multiplier is 1.
        std: of maps at the base width, times 1 / sqrt(base width) if None.
        optimizer: which optimizer the groups are for.
        readout: "zero" (advised) or "scaled", std / width.
    """

    base_width: int = 256
    std: float | None = None
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    readout: Literal["zero", "scaled"] = "zero"

    def __post_init__(self) -> None:
        if self.base_width < 1:
            raise ArgumentError(f"base_width must be >= 1; got {self.base_width!r}")
        if self.optimizer not in ("adam", "adamw", "sgd") or self.readout not in ("zero", "scaled"):
            raise ArgumentError(
                f"optimizer is 'adam', 'adamw' or 'sgd', readout 'zero' or 'scaled'; got {self.optimizer!r} and "
                f"{self.readout!r}. fanin.param_groups also makes groups for 'muon'."
            )


def weight(network: Network, role: ParameterRole, options: MupOptions) -> Draft:
    """Hidden maps by 1 / sqrt(fan_in), first maps likewise, the readout zero or by 1 / fan_in."""
    fan_in = float(role.fan_in or 1.0)
    sigma = options.std * math.sqrt(options.base_width) if options.std is not None else 1.0
    if is_head(role):
        if options.readout == "zero":
            return fixed(
                Zeros(),
                rule="mup readout",
                reason="output layer, zero as the paper advises: no noise at the start that depends on the width",
            )
        std = sigma * _readout_factor(network, options) / math.sqrt(fan_in)
        formula = "sigma sqrt(base width / width) / sqrt(fan_in)"
        return law(Normal(std=std), role, rule="mup readout", formula=formula, source=_SOURCE)
    std = sigma / math.sqrt(fan_in)
    return law(Normal(std=std), role, rule="mup", formula=f"{sigma:g} / sqrt(fan_in)", source=_SOURCE)


def _readout_factor(network: Network, options: MupOptions) -> float:
    return math.sqrt(options.base_width / network.width)


def groups(network: Network, options: MupOptions) -> Mapping[str, Any]:
    """Learning-rate groups by which sides of a parameter grow, and the growth itself for `fanin.param_groups`."""
    growth = {name: _growth(network, role, options) for name, role in network.roles.parameters.items()}
    found: dict[tuple[str, float, float, float], list[str]] = {}
    for name, role in network.roles.parameters.items():
        m = multipliers(options.optimizer, growth[name])
        found.setdefault((_kind(role), m.lr, m.weight_decay, m.eps), []).append(name)
    listed = [
        {
            "kind": kind,
            "lr_multiplier": lr,
            "weight_decay_multiplier": decay,
            "eps_multiplier": eps,
            "parameters": names,
        }
        for (kind, lr, decay, eps), names in found.items()
    ]
    readouts = [n for n, r in network.roles.parameters.items() if r.role == "weight" and is_head(r)]
    scaling = {
        "growth": {name: asdict(g) for name, g in growth.items()},
        "laws": dict.fromkeys(readouts, _readout_factor(network, options)) if options.readout == "scaled" else {},
    }
    return {"groups": listed, "optimizer": options.optimizer, "base_width": options.base_width, "scaling": scaling}


_GROUPS: Mapping[Kind, str] = {"input": "input", "hidden": "matrix", "readout": "readout", "fixed": "vector"}


def _kind(role: ParameterRole) -> str:
    """What a parameter is at every width, the base included: "input", "matrix", "readout" or "vector"."""
    if role.role in _MAPS:
        return _GROUPS[_sides(role)]
    if role.role in ("embedding", "position", "token"):
        return "readout" if "head" in role.tags else "input"
    return "vector"


def _sides(role: ParameterRole) -> Kind:
    if is_head(role) or (role.role == "embedding" and "head" in role.tags):
        return "readout"
    return "input" if role.reads_inputs else "hidden"


def _growth(network: Network, role: ParameterRole, options: MupOptions) -> Growth:
    """The growth of a parameter whose inner sizes all grow with the width; a table that is the output is a readout.

    So is a map that is applied both ways.
    """
    wide = network.width / options.base_width
    tied = role.role == "embedding" and "head" in role.tags
    if role.role in _MAPS and is_applied_both_ways(role):
        return Growth(inputs=wide)
    if role.role in _MAPS or tied:
        kind = _sides(role)
        return Growth(inputs=1.0 if kind == "input" else wide, outputs=1.0 if kind == "readout" else wide)
    owner = network.roles.parameters.get(role.owner)
    of_output = owner is not None and role.role == "bias" and is_head(owner)
    alone = math.prod(role.shape) == 1
    return Growth(outputs=1.0 if of_output or alone else wide)


def _notes(network: Network, options: MupOptions) -> tuple[str, ...]:
    said = ["mup needs its learning-rate groups: fanin.param_groups(model, plan, lr) makes them"]
    if network.width != options.base_width and network.head_dim is not None:
        said.append(
            f"attention heads are {network.head_dim} wide; where those at the base width are narrower, attention "
            "scores must be divided by d_head, not sqrt(d_head)"
        )
    tied = [n for n, r in network.roles.parameters.items() if r.role == "embedding" and "head" in r.tags]
    if network.width != options.base_width:
        said += [tied_note(name, network.width / options.base_width) for name in tied]
    return tuple(said)


MUP = table_recipe(
    "mup",
    "muP: stds by width, with the learning-rate groups they need",
    {"weight": weight},
    options=MupOptions,
    source=_SOURCE,
    notes=_notes,
    extras=groups,
)
