"""What a parameter is, told by the module that owns it: for recipes that need no forward pass.

Only torch's own modules (and GPT-2's Conv1D) are in the table; everything else is a bare tensor, with torch's (out,
in, *taps) as the documented default. The captured graph knows more; see `fanin.graph.roles.data`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.layout import Layout
from fanin.model.parameters import Slot
from fanin.model.parametrized import computed
from fanin.model.roles import Role, Seen
from fanin.model.wrappers import own_module

if TYPE_CHECKING:
    import torch

__all__ = ["Owned", "owners", "shape_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A parameter as its module sees it.

    Attributes:
        module: the module that holds it under its first name.
        path: the module's qualified path.
        attribute: name of the parameter (or of the parametrized tensor) in the module.
        role: what it does; "unknown" where the table does not know the module.
        layout: what its axes mean; None where the role has no axes.
    """

    module: Any
    path: str
    attribute: str
    role: Role
    layout: Layout | None

    @property
    def class_name(self) -> str:
        """Name of the module's class."""
        return type(self.module).__name__

    @property
    def seen(self) -> Seen:
        """Its role and layout, as its module tells them."""
        return Seen(role=self.role, layout=self.layout, source="module")


def owners(model: torch.nn.Module, slots: Mapping[str, Slot]) -> dict[str, Owned]:
    """Owner of each parameter by first name; a part of a parametrized tensor belongs to that tensor's module."""
    return {name: _owner(model, slot) for name, slot in slots.items()}


def _owner(model: torch.nn.Module, slot: Slot) -> Owned:
    path, _, attribute = (slot.through or slot.name).rpartition(".")
    module = own_module(model, path)
    shape = tuple(slot.effective().shape)
    role, layout = _describe(module, attribute, shape)
    return Owned(module=module, path=path, attribute=attribute, role=role, layout=layout)


def _describe(module: torch.nn.Module, attribute: str, shape: tuple[int, ...]) -> tuple[Role, Layout | None]:
    for classes, describe in _table():
        if isinstance(module, classes):
            return describe(module, attribute)
    if type(module).__name__ == "Conv1D":  # transformers: (in, out)
        return ("weight", Layout.linear_in_out()) if attribute == "weight" else ("bias", Layout.vector())
    if attribute.endswith("bias"):
        return "bias", Layout.default(len(shape)) if shape else None
    if "norm" in type(module).__name__.lower() and len(shape) == 1:
        return "norm_scale", Layout.vector()
    return "unknown", Layout.default(len(shape)) if shape else None


def shape_of(module: Any, attribute: str) -> tuple[int, ...]:
    """Shape of a module's tensor; of one that is computed, on a copy, since computing may change what it reads."""
    behind = computed(module, attribute)
    found = behind.value() if behind is not None else getattr(module, attribute, None)
    return () if found is None else tuple(found.shape)


_Describe = Callable[[Any, str], tuple[Role, Layout | None]]


def _table() -> tuple[tuple[Any, _Describe], ...]:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    norms = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    return (
        (_ConvTransposeNd, _conv_transposed),
        (_ConvNd, _conv),
        (nn.Linear, _linear),
        (nn.Bilinear, lambda m, a: ("weight", Layout.bilinear()) if a == "weight" else _BIAS),
        (nn.EmbeddingBag, lambda m, a: ("embedding", Layout.embedding())),
        (nn.Embedding, lambda m, a: ("embedding", Layout.embedding())),
        (nn.RNNBase, _recurrent),
        (nn.RNNCellBase, _recurrent),
        (nn.MultiheadAttention, _attention),
        (norms, lambda m, a: ("norm_scale" if a == "weight" else "norm_shift", Layout.default(len(shape_of(m, a))))),
        (nn.PReLU, lambda m, a: ("act_param", Layout.vector())),
    )


_BIAS: tuple[Role, Layout] = ("bias", Layout.vector())


def _linear(module: Any, attribute: str) -> tuple[Role, Layout | None]:
    return ("weight", Layout.linear()) if attribute == "weight" else _BIAS


def _conv(module: Any, attribute: str) -> tuple[Role, Layout | None]:
    if attribute != "weight":
        return _BIAS
    return "weight", Layout.conv(len(module.kernel_size), groups=module.groups, stride=tuple(module.stride))


def _conv_transposed(module: Any, attribute: str) -> tuple[Role, Layout | None]:
    if attribute != "weight":
        return _BIAS
    layout = Layout.conv_transposed(len(module.kernel_size), groups=module.groups, stride=tuple(module.stride))
    return "weight", layout


def _recurrent(module: Any, attribute: str) -> tuple[Role, Layout | None]:
    gates = {"LSTM": 4, "GRU": 3}.get(getattr(module, "mode", type(module).__name__.removesuffix("Cell")), 1)
    if attribute.startswith("weight_ih"):
        return "rnn_ih", Layout.linear(parts=gates)
    if attribute.startswith("weight_hh"):
        return "rnn_hh", Layout.linear(parts=gates)
    if attribute.startswith("weight_hr"):
        return "weight", Layout.linear()
    return "rnn_bias", Layout(in_axes=(), parts=gates)


def _attention(module: Any, attribute: str) -> tuple[Role, Layout | None]:
    if attribute == "in_proj_weight":
        return "weight", Layout.linear(parts=3)
    if attribute.endswith("_weight"):
        return "weight", Layout.linear()
    if attribute in ("bias_k", "bias_v"):
        return "token", None
    return _BIAS
