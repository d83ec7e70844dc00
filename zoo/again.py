"""Models that meet a weight more than once, and laws whose entries depend on one another.

Loops over one layer, equilibrium iterations, recurrences written by hand, tied autoencoders, symmetric memories;
orthogonal weights that are not mirrored, delta kernels, dropout that keeps the moments of SELU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo.registry import Builder, token_ids

__all__ = ["again"]

_WIDTH = 64


class Looped(nn.Module):
    """One layer, several times."""

    def __init__(self, layer: nn.Module, times: int, act: Callable[..., Any] = torch.relu) -> None:
        super().__init__()
        self.first, self.layer, self.head = nn.Linear(32, _WIDTH), layer, nn.Linear(_WIDTH, 10)
        self.times, self.act = times, act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.first(x))
        for _ in range(self.times):
            h = self.act(self.layer(h))
        return self.head(h)


class Equilibrium(nn.Module):
    """z = tanh(W z + U x), iterated from zero."""

    def __init__(self, times: int = 12, scale: float = 0.8) -> None:
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(_WIDTH, _WIDTH), nn.Linear(32, _WIDTH), nn.Linear(_WIDTH, 10)
        nn.init.normal_(self.inner.weight, std=scale / _WIDTH**0.5)
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        into = self.outer(x)
        z = torch.tanh(into)
        for _ in range(self.times):
            z = torch.tanh(self.inner(z) + into)
        return self.head(z)


class ByHand(nn.Module):
    """A recurrence over tokens, written as a loop."""

    def __init__(self, orthogonal: bool = False) -> None:
        super().__init__()
        self.table, self.into = nn.Embedding(128, 32), nn.Linear(32, _WIDTH)
        self.again, self.head = nn.Linear(_WIDTH, _WIDTH), nn.Linear(_WIDTH, 128)
        if orthogonal:
            nn.init.orthogonal_(self.again.weight)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.into(self.table(input_ids))
        h = torch.zeros_like(x[:, 0])
        states = []
        for t in range(x.shape[1]):
            h = torch.tanh(self.again(h) + x[:, t])
            states.append(h)
        return self.head(torch.stack(states, 1))


class Gated(nn.Module):
    """A gated unit, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.again = nn.Linear(16, 3 * _WIDTH), nn.Linear(_WIDTH, 3 * _WIDTH)
        self.head = nn.Linear(_WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], _WIDTH)
        for t in range(x.shape[1]):
            (a, b, c), (d, e, f) = self.into(x[:, t]).chunk(3, -1), self.again(h).chunk(3, -1)
            keep = torch.sigmoid(a + d)
            h = keep * h + (1 - keep) * torch.tanh(c + torch.sigmoid(b + e) * f)
        return self.head(h)


class TiedAutoencoder(nn.Module):
    """The decoder reads the encoder's weights, transposed."""

    def __init__(self, act: Callable[..., Any] = torch.tanh) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Linear(_WIDTH, 48), nn.Linear(48, 24), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.two(self.act(self.one(x))))
        h = self.act(torch.nn.functional.linear(h, self.two.weight.t()))
        return torch.nn.functional.linear(h, self.one.weight.t())


class Memory(nn.Module):
    """softmax(x W) W: a table that is read by its own rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.Parameter(torch.randn(32, _WIDTH)), nn.Linear(_WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.softmax(x @ self.rows.t() / 8.0, -1) @ self.rows)


class SharedBlock(nn.Module):
    """One pre-norm residual block, several times."""

    def __init__(self, times: int = 6) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 128), nn.Linear(128, _WIDTH)
        self.head, self.times = nn.Linear(_WIDTH, 10), times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            x = x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))
        return self.head(x)


class TiedHead(nn.Module):
    """Embeddings that are read again as the output layer, without a position between."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(128, _WIDTH), nn.Linear(_WIDTH, _WIDTH)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        h = self.table(input_ids)
        return torch.nn.functional.layer_norm(h + 0.5 * self.mix(h), (_WIDTH,)) @ self.table.weight.t()


def _stack(act: type[nn.Module], law: Callable[..., Any], *extra: nn.Module, depth: int = 6) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(_WIDTH, _WIDTH)
        law(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, act(), *extra]
    return nn.Sequential(*layers, nn.Linear(_WIDTH, 10))


def _lecun(weight: torch.Tensor) -> None:
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


def _delta(depth: int = 6) -> nn.Module:
    """Convolutions whose only nonzero tap is the centre, orthogonal there (Xiao et al. 2018, arXiv 1806.05393)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1)]
    for _ in range(depth):
        layer = nn.Conv2d(32, 32, 3, padding=1)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[:, :, 1, 1] = nn.init.orthogonal_(torch.empty(32, 32))
            nn.init.zeros_(layer.bias)
        layers += [nn.Tanh(), layer]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def _square() -> torch.Tensor:
    return torch.randn(32, _WIDTH)


def again() -> dict[str, Builder]:
    """Builders of (model, inputs) by name."""
    narrow = torch.randn(32, 32)
    return {
        "one_layer_8_times": lambda: (Looped(nn.Linear(_WIDTH, _WIDTH), 8), narrow),
        "one_tanh_layer_12_times": lambda: (Looped(nn.Linear(_WIDTH, _WIDTH), 12, torch.tanh), narrow),
        "equilibrium": lambda: (Equilibrium(), narrow),
        "rnn_by_hand": lambda: (ByHand(), {"input_ids": token_ids()}),
        "orthogonal_rnn_by_hand": lambda: (ByHand(orthogonal=True), {"input_ids": token_ids()}),
        "gated_by_hand": lambda: (Gated(), torch.randn(8, 10, 16)),
        "tied_autoencoder": lambda: (TiedAutoencoder(), _square()),
        "tied_linear_autoencoder": lambda: (TiedAutoencoder(lambda h: h), _square()),
        "memory": lambda: (Memory(), _square()),
        "shared_block": lambda: (SharedBlock(), _square()),
        "tied_head": lambda: (TiedHead(), {"input_ids": token_ids()}),
        "selu_alpha_dropout": lambda: (_stack(nn.SELU, _lecun, nn.AlphaDropout(0.1)), _square()),
        "selu_feature_alpha_dropout": lambda: (_stack(nn.SELU, _lecun, nn.FeatureAlphaDropout(0.1)), _square()),
        "orthogonal_tanh": lambda: (_stack(nn.Tanh, nn.init.orthogonal_, depth=10), _square()),
        "orthogonal_relu": lambda: (_stack(nn.ReLU, nn.init.orthogonal_, depth=10), _square()),
        "orthogonal_linear": lambda: (_stack(nn.Identity, nn.init.orthogonal_, depth=10), _square()),
        "delta_kernels": lambda: (_delta(), torch.randn(4, 3, 12, 12)),
    }
