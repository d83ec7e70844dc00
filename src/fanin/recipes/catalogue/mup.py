"""``mup``: maximal update parametrization: stds by the width, and the learning-rate groups that they need.

The groups are data (``plan.extras["groups"]``): for each the parameters, and what the learning rate and the weight
decay of AdamW (or the learning rate of SGD) are multiplied by relative to the base width. Without them the stds
alone are not muP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fanin.errors import ArgumentError
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal, Zeros
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import is_head, law, table_recipe

__all__ = ["MUP", "MupOptions"]

_SOURCE = "Yang et al. 2022, arXiv 2203.03466, table 8"


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
    optimizer: Literal["adam", "sgd"] = "adam"
    readout: Literal["zero", "scaled"] = "zero"

    def __post_init__(self) -> None:
        if self.base_width < 1:
            raise ArgumentError(f"base_width must be >= 1; got {self.base_width!r}")
        if self.optimizer not in ("adam", "sgd") or self.readout not in ("zero", "scaled"):
            raise ArgumentError("optimizer is 'adam' or 'sgd', readout 'zero' or 'scaled'")


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
        std = sigma * math.sqrt(options.base_width) / fan_in
        return law(Normal(std=std), role, rule="mup readout", formula="sigma sqrt(base width) / fan_in", source=_SOURCE)
    std = sigma / math.sqrt(fan_in)
    return law(Normal(std=std), role, rule="mup", formula=f"{sigma:g} / sqrt(fan_in)", source=_SOURCE)


def groups(network: Network, options: MupOptions) -> Mapping[str, Any]:
    """Learning-rate groups, by which axes of a parameter grow with the width."""
    found: dict[tuple[str, float, float], list[str]] = {}
    for name, role in network.roles.parameters.items():
        kind = _kind(network, role)
        wide = float(role.fan_in or network.width) / options.base_width
        if kind in ("matrix", "readout"):
            lr = 1.0 / wide if options.optimizer == "adam" else (1.0 if kind == "matrix" else wide)
        else:
            lr = 1.0 if options.optimizer == "adam" else network.width / options.base_width
        decay = 1.0 / lr if kind == "matrix" and options.optimizer == "adam" else 1.0
        found.setdefault((kind, lr, decay), []).append(name)
    listed = [
        {"kind": kind, "lr_multiplier": lr, "weight_decay_multiplier": decay, "parameters": names}
        for (kind, lr, decay), names in found.items()
    ]
    return {"groups": listed, "optimizer": options.optimizer, "base_width": options.base_width}


def _kind(network: Network, role: ParameterRole) -> str:
    if role.role in ("embedding", "position", "token") or (role.role == "weight" and set(role.feeds) == {"input"}):
        return "input"
    if role.role == "weight":
        return "readout" if is_head(role) else "matrix"
    return "matrix" if role.role in ("rnn_ih", "rnn_hh") else "vector"


def _notes(network: Network, options: MupOptions) -> tuple[str, ...]:
    said = "mup needs its learning-rate groups: give plan.extras['groups'] to the optimizer"
    attends = any({"attn_q", "attn_k"} & set(r.tags) for r in network.roles.parameters.values())
    return (f"{said}; attention scores must be divided by d_head, not sqrt(d_head)",) if attends else (said,)


MUP = table_recipe(
    "mup",
    "muP: stds by width, with the learning-rate groups they need",
    {"weight": weight},
    options=MupOptions,
    source=_SOURCE,
    notes=_notes,
    extras=groups,
)
