"""Second moments through real layers, forward and backward, for every layout.

A weight is right if the layer that uses it keeps what it should: inputs of second moment 1 come out with 1 under a
fan_in law, gradients of second moment 1 under a fan_out law. Inputs are Gaussian, scaled to the exact second moment
sample by sample, so what is left is the noise of the weights, (kurtosis - 1) / number of weights, and of the outputs, 2
/ (batch x outputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import fanin
from fanin.initializers import Initializer, Orthogonal, Scaled, VarianceScaling
from fanin.layout import Layout, fans
from tests.initializers.statistics import WRONG, assert_power, assert_ratio
from tests.selection import few

F = nn.functional
Layer = Callable[[Tensor], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Case:
    """A weight, its layout, and the real layer that uses it."""

    shape: tuple[int, ...]
    layout: Layout
    layer: Layer  # weight -> forward function
    inputs: tuple[int, ...]  # shape of one batch
    inner_out: int = 0  # pixels at the border of the output that see fewer terms
    inner_in: int = 0  # and of the input


def of_module(make: Callable[[], nn.Module]) -> Layer:
    """The forward of a real module whose `weight` is the given one."""

    def layer(weight: Tensor) -> Callable[[Tensor], Tensor]:
        module = make()
        assert module.weight.shape == weight.shape
        with torch.no_grad():
            module.weight.copy_(weight)
        return module

    return layer


def conv2d(**kwargs) -> Layer:
    return of_module(lambda: nn.Conv2d(**kwargs, bias=False, padding_mode="circular"))


def kernel_in_torch_order(order: tuple[int, ...], **kwargs) -> Layer:
    """A circular torch convolution whose kernel comes in another order of axes."""

    def layer(weight: Tensor) -> Callable[[Tensor], Tensor]:
        kernel = weight.permute(*order)
        if kwargs.get("groups", 1) > 1:
            kernel = kernel.reshape(-1, 1, *kernel.shape[2:])
        pad = kernel.shape[-1] // 2
        return lambda x: F.conv2d(F.pad(x, (pad,) * 4, mode="circular"), kernel, **kwargs)

    return layer


def packed(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """q, k and v of nn.MultiheadAttention, side by side: the projection that the module itself calls."""
    return lambda x: torch.cat(F._in_projection_packed(x, x, x, weight), dim=-1)


CASES = {
    "linear 64 -> 256": Case((256, 64), Layout.linear(), of_module(lambda: nn.Linear(64, 256, bias=False)), (512, 64)),
    "linear 256 -> 64": Case((64, 256), Layout.linear(), of_module(lambda: nn.Linear(256, 64, bias=False)), (512, 256)),
    "conv1d": Case(
        (64, 48, 5),
        Layout.conv(1),
        of_module(lambda: nn.Conv1d(48, 64, 5, padding=2, bias=False, padding_mode="circular")),
        (32, 48, 16),
    ),
    "conv2d": Case(
        (64, 48, 3, 3),
        Layout.conv(2),
        conv2d(in_channels=48, out_channels=64, kernel_size=3, padding=1),
        (16, 48, 8, 8),
    ),
    "conv3d": Case(
        (24, 16, 3, 3, 3),
        Layout.conv(3),
        of_module(lambda: nn.Conv3d(16, 24, 3, padding=1, bias=False, padding_mode="circular")),
        (8, 16, 4, 4, 4),
    ),
    "conv2d, groups 4": Case(
        (128, 16, 3, 3),
        Layout.conv(2, groups=4),
        conv2d(in_channels=64, out_channels=128, kernel_size=3, padding=1, groups=4),
        (16, 64, 8, 8),
    ),
    "conv2d, stride 2": Case(
        (64, 48, 3, 3),
        Layout.conv(2, stride=2),
        conv2d(in_channels=48, out_channels=64, kernel_size=3, padding=1, stride=2),
        (32, 48, 8, 8),
    ),
    "depthwise": Case(
        (512, 1, 5, 5),
        Layout.conv(2, groups=512),
        conv2d(in_channels=512, out_channels=512, kernel_size=5, padding=2, groups=512),
        (8, 512, 6, 6),
    ),
    "transposed": Case(
        (48, 32, 4, 4),
        Layout.conv_transposed(2),
        of_module(lambda: nn.ConvTranspose2d(48, 32, 4, bias=False)),
        (8, 48, 14, 14),
        inner_out=4,
        inner_in=0,
    ),
    "transposed, stride 2": Case(
        (48, 32, 4, 4),
        Layout.conv_transposed(2, stride=2),
        of_module(lambda: nn.ConvTranspose2d(48, 32, 4, stride=2, bias=False)),
        (16, 48, 8, 8),
        inner_out=4,
    ),
    "transposed, stride 2, groups 4": Case(
        (128, 16, 4, 4),
        Layout.conv_transposed(2, stride=2, groups=4),
        of_module(lambda: nn.ConvTranspose2d(128, 64, 4, stride=2, groups=4, bias=False)),
        (16, 128, 8, 8),
        inner_out=4,
    ),
    "attention q, k, v": Case((3 * 96, 96), Layout.linear(parts=3), packed, (512, 96)),
    "experts": Case(
        (4, 96, 64), Layout.experts(), lambda w: lambda x: torch.einsum("eoi,ebi->ebo", w, x), (4, 256, 64)
    ),
    "experts (in, out)": Case((4, 64, 96), Layout.experts(in_out=True), lambda w: lambda x: x @ w, (4, 256, 64)),
    "GPT-2 Conv1D": Case((64, 3 * 96), Layout.linear_in_out(parts=3), lambda w: lambda x: x @ w, (512, 64)),
    "heads": Case((96, 4, 32), Layout.heads(), lambda w: lambda x: torch.einsum("bd,dhk->bhk", x, w), (512, 96)),
    "heads, output": Case(
        (4, 32, 96), Layout.heads(output=True), lambda w: lambda x: torch.einsum("bhk,hkd->bd", x, w), (512, 4, 32)
    ),
    "channels last (Keras, JAX)": Case(
        (3, 3, 48, 64), Layout.channels_last(4), kernel_in_torch_order((3, 2, 0, 1)), (16, 48, 8, 8)
    ),
    "Keras depthwise": Case(
        (5, 5, 384, 2),
        Layout.keras_depthwise(4, 384),
        kernel_in_torch_order((2, 3, 0, 1), groups=384),
        (8, 384, 6, 6),
    ),
    "Keras transposed": Case(
        (4, 4, 32, 48),
        Layout.keras_conv_transposed(4, stride=2),
        lambda w: lambda x: F.conv_transpose2d(x, w.permute(3, 2, 0, 1), stride=2),
        (16, 48, 8, 8),
        inner_out=4,
    ),
    "c01b": Case((48, 3, 3, 64), Layout.c01b(), kernel_in_torch_order((3, 0, 1, 2)), (16, 48, 8, 8)),
}
# Every layout is tried with every law; by default the cut and the uniform law on one layout of each kind only.
BRIEFLY = ("linear 64 -> 256", "linear 256 -> 64", "conv2d, groups 4", "transposed, stride 2", "experts", "c01b")
LAWS = ("normal", "uniform", "truncated_normal", "orthogonal")
ALL = [
    pytest.param(case, law, marks=() if law in ("normal", "orthogonal") or case in BRIEFLY else pytest.mark.slow)
    for case in CASES
    for law in LAWS
]
ENOUGH = 3.6e-5  # variance of a mean ratio that leaves room for the power that `assert_power` asks for


def crop(y: Tensor, border: int) -> Tensor:
    return y[..., border:-border, border:-border] if border else y


def unit(shape: tuple[int, ...], seed: int, border: int = 0) -> Tensor:
    """Gaussian numbers whose second moment is 1 in each sample; 0 at the border."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.square().flatten(1).mean(dim=1).sqrt().view(-1, *[1] * (x.dim() - 1))


def filled(law: Initializer, case: Case, seed: int) -> Tensor:
    """The weight as `fill_` writes it, computed with in float64."""
    weight = torch.empty(case.shape)
    return law.fill_(weight, key=fanin.key(seed, "layer.weight"), layout=case.layout).double()


def forward_ratio(law: Initializer, case: Case, seed: int) -> tuple[float, int]:
    """q_out / q_in of one draw, and the number of outputs it was averaged over."""
    with torch.no_grad():
        y = crop(case.layer(filled(law, case, seed))(unit(case.inputs, seed)), case.inner_out)
    return y.square().mean().item(), y.numel()


def backward_ratio(law: Initializer, case: Case, seed: int) -> tuple[float, int]:
    """Second moment of the input's gradient over that of the output's, and the number of inputs."""
    x = unit(case.inputs, seed).requires_grad_()
    y = case.layer(filled(law, case, seed))(x)
    y.backward(unit(tuple(y.shape), seed + 1000))
    assert x.grad is not None
    return x.grad.square().mean().item(), x.grad.numel()


def weights_noise(law: Initializer, case: Case) -> float:
    """Relative variance of the mean square of a weight; 0 for an orthogonal one, whose sum of squares is fixed."""
    if isinstance(law, Orthogonal):
        return 0.0
    return (law.kurtosis_for(case.shape, case.layout) - 1.0) / math.prod(case.shape)


def law_named(name: str, mode: str) -> Initializer:
    return Orthogonal(scaled=True) if name == "orthogonal" else VarianceScaling(mode=mode, law=name)


@pytest.fixture(autouse=True)
def double_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def check(ratio: Callable, law: Initializer, wanted: float, case: Case, sampled: Initializer, what: str) -> None:
    """The mean ratio of as many draws as it takes to see a std that is 3 % off, within 5 standard errors."""
    first, numbers = ratio(sampled, case, 0)
    noise = weights_noise(law, case) + 2.0 / numbers
    draws = math.ceil(noise / ENOUGH)
    found = [first, *(ratio(sampled, case, seed)[0] for seed in range(1, draws))]
    assert_power(noise / draws)
    assert_ratio(sum(found) / draws, wanted, rel_var=noise / draws, what=what)


@pytest.mark.parametrize(("case", "name"), ALL)
def test_a_fan_in_law_keeps_the_second_moment(case, name):
    law = law_named(name, "fan_in")
    check(forward_ratio, law, 1.0, CASES[case], law, f"{case}: q_out / q_in")


def gradient_ratio(law: Initializer, case: Case) -> float:
    """What the gradient's second moment is multiplied by under a fan_out law: 1, but for maps that are not square."""
    wanted = law.std_for(case.shape, case.layout) ** 2 * fans(case.shape, case.layout).fan_out
    if not isinstance(law, Orthogonal):
        assert wanted == pytest.approx(1.0)
    # gradients of the parts add up in the input they share
    return wanted * len(case.layout.part_sizes(case.shape))


@pytest.mark.parametrize(("case", "name"), few(ALL, every=4))
def test_a_fan_out_law_keeps_the_second_moment_of_the_gradient(case, name):
    one, law = CASES[case], law_named(name, "fan_out")
    check(backward_ratio, law, gradient_ratio(law, one), one, law, f"{case}: gradient ratio")


@pytest.mark.parametrize(("case", "name"), few(ALL, every=4))
def test_a_std_that_is_three_percent_off_is_seen(case, name):
    one, law = CASES[case], law_named(name, "fan_in")
    with pytest.raises(AssertionError, match="q_out / q_in"):
        check(forward_ratio, law, 1.0, one, Scaled(law, WRONG), "q_out / q_in")
    law = law_named(name, "fan_out")
    with pytest.raises(AssertionError, match="gradient"):
        check(backward_ratio, law, gradient_ratio(law, one), one, Scaled(law, 1.0 / WRONG), "gradient")
