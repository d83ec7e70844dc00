"""Networks and losses of the held half; none of them is in the development half."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam

from benchmarks.accuracy.watched_runs.loop import Batch, Training, rows

__all__ = [
    "Dense",
    "Experts",
    "Gated",
    "Masked",
    "Mixer",
    "PostNorm",
    "RowConv",
    "SeparableConv",
    "Sideways",
    "Variational",
    "adversarial",
    "copies",
    "elbo",
]


class Mixer(nn.Module):
    """Maps over the rows of a picture and over their features in turn."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.across = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.within = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x)
        for across, within in zip(self.across, self.within, strict=True):
            x = x + across(x.transpose(1, 2)).transpose(1, 2)
            x = x + within(x)
        return self.head(x.mean(1))


class RowConv(nn.Module):
    """Convolutions along the rows with group norm."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(8, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).amax(-1))


class SeparableConv(nn.Module):
    """Depthwise and pointwise convolutions with batch norm, as in MobileNet."""

    def __init__(self, width: int = 24, depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        for _ in range(depth):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU6(),
                nn.Conv2d(width, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU6(),
            ]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Dense(nn.Module):
    """Every convolution reads all maps before it, as in DenseNet."""

    def __init__(self, growth: int = 8, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(1 + i * growth, growth, 3, padding=1) for i in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(growth) for _ in range(depth))
        self.head = nn.Linear(1 + depth * growth, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.cat([x, torch.relu(norm(layer(x)))], 1)
        return self.head(x.mean((2, 3)))


class PostNorm(nn.Module):
    """A transformer with norms behind its sums and a class token."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.token, self.place = nn.Parameter(0.02 * torch.randn(1, 1, width)), nn.Parameter(torch.zeros(9, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True, activation="gelu")
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.entry(x)], 1) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


class Sideways(nn.Module):
    """A recurrent layer of two directions over the rows."""

    def __init__(self, kind: type[nn.RNNBase] = nn.GRU, width: int = 32) -> None:
        super().__init__()
        self.cell, self.head = kind(8, width, batch_first=True, bidirectional=True), nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0].mean(1))


class Masked(nn.Module):
    """An encoder of characters that fills in those that are hidden."""

    def __init__(self, vocabulary: int, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(vocabulary + 1, width), nn.Embedding(32, width)
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.table(x) + self.places(torch.arange(x.shape[1])))).flatten(0, 1)


class Variational(nn.Module):
    """A variational autoencoder: reconstruction, mean and log variance."""

    def __init__(self, width: int = 64, code: int = 8) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 2 * code))
        self.dec = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 64))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_var = self.enc(x).chunk(2, -1)
        return self.dec(mean + torch.randn_like(mean) * (log_var / 2).exp()), mean, log_var


class Experts(nn.Module):
    """Eight small networks, of which each sample runs through one."""

    def __init__(self, width: int = 32, count: int = 8) -> None:
        super().__init__()
        self.entry, self.gate, self.head = nn.Linear(64, width), nn.Linear(width, count), nn.Linear(width, 10)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width)) for _ in range(count)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.entry(x))
        weights = self.gate(x).softmax(-1)
        best = weights.argmax(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            mine = (best == i).nonzero()[:, 0]
            if len(mine):
                out = out.index_add(0, mine, expert(x[mine]) * weights[mine, i : i + 1])
        return self.head(x + out)


class Gated(nn.Module):
    """ReZero: each block is multiplied by a number that starts at zero."""

    def __init__(self, depth: int = 8, width: int = 48) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.Parameter(torch.zeros(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x)
        for gate, layer in zip(self.gates, self.maps, strict=True):
            x = x + gate * functional.relu(layer(x))
        return self.head(x)


# ---------------------------------------------------------------------- losses
def elbo(output: tuple[torch.Tensor, ...], x: torch.Tensor) -> torch.Tensor:
    """The loss of a variational autoencoder: half the squared error plus the divergence of its code."""
    made, mean, log_var = output
    divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
    return 0.5 * (made - x).square().sum(-1).mean() + divergence


def copies(n: int) -> Batch:
    """Digits that are their own targets."""
    x, _ = rows()(n)
    return x, x


def adversarial(maker: nn.Module, judge: nn.Module, slow: float, fast: float) -> Training:
    """Hinge loss in turns; the loss told is the judge's."""
    model = nn.ModuleList([maker, judge])
    first, second = Adam(judge.parameters(), fast, betas=(0.0, 0.9)), Adam(maker.parameters(), slow, betas=(0.0, 0.9))
    batch = rows()

    def body(n: int) -> torch.Tensor:
        x, _ = batch(n)
        made = maker(torch.randn(len(x), 16))
        first.zero_grad()
        loss = (1 - judge(x)).relu().mean() + (1 + judge(made.detach())).relu().mean()
        loss.backward()
        first.step()
        second.zero_grad()
        (-judge(made).mean()).backward()
        second.step()
        return loss

    return Training(model=model, optimizers=[first, second], body=body)
