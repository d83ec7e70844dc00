"""``torch``: the law of each module's own ``reset_parameters``, under fanin's keyed streams.

Bare parameters and modules that are not torch's own have no such law, and the recipe cannot place them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fanin.initializers import Constant, Initializer, Normal, Ones, Uniform, Zeros
from fanin.model.owners import Owned, shape_of
from fanin.recipes.base import Choice, Chosen, Live, Recipe
from fanin.recipes.step import Step

__all__ = ["TORCH", "TorchOptions"]

_Shape = tuple[int, ...]
_Made = tuple[Initializer, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchOptions:
    """The recipe ``torch`` has no options."""


def choose(live: Live, options: TorchOptions) -> Chosen:
    """The framework's own law of every parameter that a torch module owns."""
    owned = live.reading.owners
    choices, unknown = {}, {}
    for name, tensor in live.tensors.items():
        made = _law(owned[name], tuple(tensor.shape))
        if made is None:
            unknown[name] = (
                f"{owned[name].class_name} is not a torch module, so its reset_parameters has no law known here"
            )
            continue
        choices[name] = _choice(owned[name], tuple(tensor.shape), *made)
    return Chosen(choices=choices, unknown=unknown)


def _choice(owned: Owned, shape: _Shape, law: Initializer, formula: str, note: str) -> Choice:
    std = law.std_for(shape, owned.layout)
    step = Step(quantity="std", value=std, formula=formula, source=f"torch.nn.{owned.class_name}.reset_parameters")
    return Choice(
        law=law,
        role=owned.role,
        layout=owned.layout,
        rule=f"torch {owned.class_name}",
        reason=f"torch.nn.{owned.class_name} starts its {owned.attribute} from {formula}",
        steps=(step,),
        warnings=(note,) if note else (),
    )


def _law(owned: Owned, shape: _Shape) -> _Made | None:
    for classes, law in _table():
        if isinstance(owned.module, classes):
            return law(owned.module, owned.attribute, shape)
    return None


def _table() -> tuple[tuple[Any, Callable[[Any, str, _Shape], _Made | None]], ...]:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd

    return (
        ((nn.Linear, _ConvNd), _dense),
        (nn.Bilinear, _bilinear),
        ((nn.Embedding, nn.EmbeddingBag), _embedding),
        ((nn.RNNBase, nn.RNNCellBase), _recurrent),
        (nn.MultiheadAttention, _attention),
        ((_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), _norm),
        (nn.PReLU, lambda m, a, s: (Constant(float(m.init)), f"{m.init:g}", "")),
    )


def _even(bound: float, formula: str) -> _Made:
    return Uniform(bound=bound), formula, ""


def _dense(module: Any, attribute: str, shape: _Shape) -> _Made:
    weight = shape if attribute == "weight" else shape_of(module, "weight")
    fan = weight[1] * math.prod(weight[2:])  # torch's own count, which a transposed convolution gets wrong
    if fan == 0:
        return Zeros(), "zero, because fan_in is 0", ""
    if attribute == "bias" and type(module).__name__ == "NonDynamicallyQuantizableLinear":
        return Zeros(), "zero, as nn.MultiheadAttention sets its output's bias", ""
    note = ""
    if getattr(module, "transposed", False) and attribute == "weight":
        note = "torch takes the outputs of a transposed convolution for its inputs here; auto and classic do not"
    return Uniform(bound=1 / math.sqrt(fan)), f"U(±1 / sqrt({fan}))", note


def _bilinear(module: Any, attribute: str, shape: _Shape) -> _Made:
    return _even(1 / math.sqrt(module.in1_features), "U(±1 / sqrt(in1))")


def _embedding(module: Any, attribute: str, shape: _Shape) -> _Made:
    return Normal(std=1.0), "N(0, 1)", ""


def _recurrent(module: Any, attribute: str, shape: _Shape) -> _Made:
    return _even(1 / math.sqrt(module.hidden_size), "U(±1 / sqrt(hidden_size))")


def _attention(module: Any, attribute: str, shape: _Shape) -> _Made:
    if attribute.endswith("_weight"):
        bound = math.sqrt(6 / (shape[0] + shape[1]))
        note = (
            "torch counts q, k and v together in fan_out, so each is a factor sqrt(2) below Glorot's law"
            if attribute == "in_proj_weight"
            else ""
        )
        return Uniform(bound=bound), "U(±sqrt(6 / (rows + columns)))", note
    if attribute in ("bias_k", "bias_v"):
        std = math.sqrt(2 / (shape[0] * shape[2] + shape[1] * shape[2])) if len(shape) == 3 else 1.0
        return Normal(std=std), "Glorot's normal law on (1, 1, d)", ""
    return Zeros(), "zero", ""


def _norm(module: Any, attribute: str, shape: _Shape) -> _Made:
    return (Ones(), "one", "") if attribute == "weight" else (Zeros(), "zero", "")


TORCH = Recipe(
    name="torch",
    summary="each torch module's own reset_parameters law",
    choose=choose,
    options=TorchOptions,
    source="torch.nn modules, reset_parameters",
)
