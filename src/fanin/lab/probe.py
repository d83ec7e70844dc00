"""What flows through chosen layers in one forward and backward pass: activations and gradients, for figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["LayerSample", "flow"]

_SAMPLE = 20_000  # numbers kept per tensor for a histogram: its quantiles are then good to about 1 %


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSample:
    """Activations and gradients at the output of one module.

    Attributes:
        name: qualified module name.
        activation: a strided sample of the output, float32.
        gradient: the same positions of the loss's gradient with respect to it.
        activation_std: std of the whole output.
        gradient_std: std of the whole gradient.
        activation_rms: root mean square of the whole output.
        gradient_rms: root mean square of the whole gradient.
    """

    name: str
    activation: npt.NDArray[np.float32]
    gradient: npt.NDArray[np.float32]
    activation_std: float
    gradient_std: float
    activation_rms: float
    gradient_rms: float


def _summary(x: Tensor) -> tuple[npt.NDArray[np.float32], float, float]:
    flat = x.detach().double().reshape(-1)
    step = max(1, flat.numel() // _SAMPLE)
    return flat[::step].float().numpy().copy(), float(flat.std()), float(flat.square().mean().sqrt())


def flow(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor], names: Iterable[str]
) -> list[LayerSample]:
    """Run one forward and one backward pass; activations and gradients of the named modules, in their order.

    Parameters' gradients are computed and thrown away; hooks are removed also when the pass fails.

    Example:
        >>> from fanin.lab.models import mlp
        >>> x, y = torch.randn(8, 4), torch.zeros(8, dtype=torch.long)
        >>> [f.name for f in flow(mlp([4, 5, 3]), x, y, nn.functional.cross_entropy, ["1"])]
        ['1']
    """
    forward: dict[str, Any] = {}
    backward: dict[str, Any] = {}
    modules = dict(model.named_modules())
    wanted = list(names)

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            forward[name] = _summary(output)
            output.register_hook(lambda g: backward.__setitem__(name, _summary(g)))  # type: ignore[no-untyped-call]

        return hook

    handles = [modules[name].register_forward_hook(watch(name)) for name in wanted]
    try:
        value = loss(model(inputs), targets)
        torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    return [
        LayerSample(
            name=name,
            activation=forward[name][0],
            gradient=backward[name][0],
            activation_std=forward[name][1],
            gradient_std=backward[name][1],
            activation_rms=forward[name][2],
            gradient_rms=backward[name][2],
        )
        for name in wanted
    ]
