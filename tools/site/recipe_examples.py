"""The network that each recipe's page plans, and when the recipe is the right one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

import fanin
from fanin.planning.assignment import Assignment

__all__ = ["EXAMPLES", "Example", "planned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A network by name, and when the recipe suits.

    Attributes:
        use: when to use the recipe, and when not.
        network: one of `_NETWORKS`.
    """

    use: str
    network: str = "plain"

    @property
    def words(self) -> str:
        """What the network is."""
        return _NETWORKS[self.network][0]


class Block(nn.Module):
    """A residual branch of two maps, with or without a norm."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Gated(Block):
    """The same without a norm, its branch times a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__(width, norm=False)
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * self.down(torch.relu(self.up(x)))


class Attention(nn.Module):
    """A pre-norm transformer of one layer over tokens."""

    def __init__(self, first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=first)
        self.head = nn.Linear(32, 64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(tokens)))


class Sines(nn.Module):
    """A network of sines."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sin(self.second(torch.sin(self.first(x)))))


class Recurrent(nn.Module):
    """A recurrent layer of ReLU units and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(8, 32, nonlinearity="relu", batch_first=True), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def _plain(act: type[nn.Module] = nn.ReLU, depth: int = 4) -> nn.Module:
    layers = [part for _ in range(depth) for part in (nn.Linear(64, 64), act())]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def _residual(norm: bool) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), Block(64, norm), Block(64, norm), nn.Linear(64, 10))


def _vectors(size: int = 64) -> torch.Tensor:
    return torch.randn(32, size, generator=torch.Generator().manual_seed(0))


def _tokens() -> torch.Tensor:
    return torch.randint(0, 64, (8, 16), generator=torch.Generator().manual_seed(0))


# name -> (what it is, the model, its inputs)
_NETWORKS = {
    "plain": ("Four ReLU layers of 64 units and an output layer.", _plain, _vectors),
    "gelu": ("Six GELU layers of 64 units and an output layer.", lambda: _plain(nn.GELU, 6), _vectors),
    "residual": ("Two residual blocks without norms.", lambda: _residual(False), _vectors),
    "gated": (
        "Two residual blocks, each branch times a learned scale.",
        lambda: nn.Sequential(nn.Linear(64, 64), Gated(64), Gated(64), nn.Linear(64, 10)),
        _vectors,
    ),
    "transformer": ("A pre-norm transformer layer with a table and a head.", Attention, _tokens),
    "post-norm": ("A post-norm transformer layer with a table and a head.", lambda: Attention(first=False), _tokens),
    "sines": ("A network of sines over two coordinates.", Sines, lambda: _vectors(2)),
    "recurrent": ("A recurrent layer of ReLU units and a head.", Recurrent, lambda: torch.randn(4, 12, 8)),
}

EXAMPLES = {
    "auto": Example(use="Always, unless you have a reason: it reads the network and chooses on evidence."),
    "classic": Example(use="To compare with what a textbook does, or where a reviewer asks for it."),
    "orthogonal": Example(use="Deep plain stacks of tanh or linear units, recurrent networks."),
    "keep": Example(use="To see what the model has now: which law each tensor follows, and its std."),
    "torch": Example(
        use="To draw torch's own defaults from keyed streams: reproducible, sharded, from the meta device."
    ),
    "gpt2": Example(
        use="To reproduce GPT-2, at widths near 768. 0.02 is too small for narrow models.", network="transformer"
    ),
    "small_init": Example(use="Pre-norm transformers trained with little warm-up.", network="transformer"),
    "t5": Example(use="To reproduce T5.", network="transformer"),
    "vit": Example(use="To reproduce ViT's JAX code.", network="transformer"),
    "fixup": Example(use="Residual networks from which the norms were taken.", network="residual"),
    "t_fixup": Example(use="Transformers without norms and without warm-up.", network="transformer"),
    "rezero": Example(use="Residual branches that have a scale of their own, to begin at zero.", network="gated"),
    "skipinit": Example(use="As `rezero`, for branches of convolutions.", network="gated"),
    "deepnorm": Example(use="Post-norm transformers of many layers.", network="post-norm"),
    "dks": Example(use="Plain stacks of 30 layers and more whose units are smooth or logistic.", network="gelu"),
    "tat": Example(use="Plain stacks of leaky or smooth units, where `dks` is too linear.", network="gelu"),
    "siren": Example(use="Networks of sines over coordinates.", network="sines"),
    "irnn": Example(use="Recurrent networks of ReLU units that must remember for long.", network="recurrent"),
    "zero": Example(use="Starts without randomness, for reproducing ZerO."),
    "mup": Example(
        use="With `fanin.param_groups`, so that one learning rate holds for all widths.", network="transformer"
    ),
}


def planned(name: str) -> Iterator[tuple[str, Assignment]]:
    """Parameter and assignment, as the recipe plans the network of its page."""
    _, build, inputs = _NETWORKS[EXAMPLES[name].network]
    torch.manual_seed(0)
    yield from fanin.plan(build(), inputs(), recipe=name, on_unknown="keep").items()
