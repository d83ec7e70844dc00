"""The healthy runs of the seventh held set: written when the sixth had been read, before any of these was watched."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam
from torch.optim.lr_scheduler import CyclicLR, LambdaLR

from benchmarks.accuracy.watched_runs.fifth_models import Lion, looped
from benchmarks.accuracy.watched_runs.held_models import Mixer, RowConv, SeparableConv
from benchmarks.accuracy.watched_runs.loop import Batch, Training, characters, plain, pretrained, rows, vocabulary
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Residual, TextRecurrent, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder, Highway, TextConv
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS", "Choices", "preferred", "upper_half"]


class Choices(nn.Module):
    """An autoencoder of eight discrete codes, drawn by a soft maximum with noise (Gumbel)."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = mlp(1, 64, outputs=64), mlp(1, 64, inputs=64, outputs=64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.encode(x).view(-1, 8, 8)
        return self.decode(functional.gumbel_softmax(logits, 1.0).flatten(1))


class Windows(nn.Module):
    """Convolutions with batch norm over rows, then a GRU over what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(8, 32, 3, padding=1), nn.BatchNorm1d(32)
        self.cell, self.head = nn.GRU(32, 32, batch_first=True, bidirectional=True), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm(self.conv(x.transpose(1, 2)))).transpose(1, 2)
        return self.head(self.cell(h)[0].mean(1))


class Deep(PatchFormer):
    """A class token, and blocks that are left out by chance in training."""

    def __init__(self) -> None:
        super().__init__(depth=4)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.entry(x) + self.place
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1)
        for block in self.blocks:
            out = block(h)
            kept = (torch.rand(len(h), 1, 1) > 0.1).float() if self.training else 1.0
            h = h + kept * (out - h)
        return self.head(h[:, 0])


class Bumps(nn.Module):
    """Distances from 48 points, as bumps, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.head = nn.Parameter(torch.rand(48, 64)), nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.exp(-torch.cdist(x, self.points).square() / 16))


def upper_half() -> Callable[[int], Batch]:
    """Rows of digits of which half are hidden, and all rows."""
    batch = rows(size=64)

    def masked(n: int) -> Batch:
        x, _ = batch(n)
        seen = torch.rand(x.shape, generator=torch.Generator().manual_seed(n)) > 0.5
        return x * seen, x

    return masked


def filled(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(output, y)


def pruned() -> Training:
    """Two thirds of the weights are kept at zero by masks after each step."""
    model = mlp(3, 128)
    masks = [(p, (torch.rand_like(p) < 1 / 3).float()) for p in model.parameters() if p.dim() > 1]

    def mask(n: int) -> None:
        with torch.no_grad():
            for p, kept in masks:
                p.mul_(kept)

    mask(0)
    return of(model, Adam, 2e-3, rows(), after=mask)


def not_negative() -> Training:
    """An autoencoder without negative weights: they are cut at zero after each step."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64))
    batch = rows()

    def cut(n: int) -> None:
        with torch.no_grad():
            for p in model.parameters():
                p.clamp_(min=0)

    cut(0)
    return plain(model, Adam(model.parameters(), 2e-3), lambda n: (batch(n)[0], batch(n)[0]), filled, after=cut)


def cyclic() -> Training:
    model = ConvNet()
    optimizer = SGD(model.parameters(), 0.01, momentum=0.9)
    return plain(
        model, optimizer, rows(shape=PICTURES), scheduler=CyclicLR(optimizer, 0.01, 0.1, step_size_up=25), warmup=20
    )


def carried() -> Training:
    """The state of a recurrent network is carried over from piece to piece of the text (truncated gradients)."""
    model = TextRecurrent(vocabulary())
    text, state = characters(16, 24), {}

    def losses(n: int) -> torch.Tensor:
        x, y = text(n)
        h, state["h"] = model.cell(model.table(x), state.get("h"))
        state["h"] = tuple(s.detach() for s in state["h"])
        return functional.cross_entropy(model.head(h).flatten(0, 1), y)

    return looped(model, AdamW(model.parameters(), 5e-3), losses)


def unfrozen() -> Training:
    """The trunk of a trained mixer is frozen for 30 steps, then trained too."""
    model = pretrained(Mixer(), rows(shape=TOKENS, only=lambda y: y < 5), 120)
    model.head = nn.Linear(32, 10)
    inner = [p for name, p in model.named_parameters() if not name.startswith("head")]
    for p in inner:
        p.requires_grad_(False)

    def after(n: int) -> None:
        if n == 29:
            for p in inner:
                p.requires_grad_(True)

    return plain(model, AdamW(model.parameters(), 2e-3), rows(shape=TOKENS), after=after)


def preferred(rate: float) -> Training:
    """A trained GPT and its frozen copy: pieces of text are preferred to stirred ones (DPO)."""
    model = pretrained(Gpt(vocabulary()), characters(), 150, 3e-3)
    frozen, text = copy.deepcopy(model).requires_grad_(False), characters(12, 24)

    def score(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        logs = net(x[:, :-1]).log_softmax(-1).gather(1, x[:, 1:].reshape(-1, 1))
        return logs.view(len(x), -1).sum(-1)

    def losses(n: int) -> torch.Tensor:
        good, _ = text(n)
        bad = good[:, torch.randperm(good.shape[1], generator=torch.Generator().manual_seed(n))]
        with torch.no_grad():
            before = score(frozen, good) - score(frozen, bad)
        return -functional.logsigmoid(0.1 * (score(model, good) - score(model, bad) - before)).mean()

    return looped(model, AdamW(model.parameters(), rate), losses)


def with_square(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and a little of the square of its normaliser."""
    return functional.cross_entropy(output, y) + 1e-3 * output.logsumexp(-1).square().mean()


def decayed_groups() -> Training:
    """Decay on matrices alone, an inverse root schedule after 15 steps of warm-up."""
    model = Gpt(vocabulary(), depth=3)
    big = [p for p in model.parameters() if p.dim() > 1]
    small = [p for p in model.parameters() if p.dim() < 2]
    optimizer = AdamW([{"params": big, "weight_decay": 0.1}, {"params": small, "weight_decay": 0.0}], 3e-3)
    schedule = LambdaLR(optimizer, lambda n: min((n + 1) / 15, math.sqrt(15 / (n + 1))))
    return plain(model, optimizer, characters(), with_square, scheduler=schedule, warmup=15, clip=1.0)


def wrong_labels(share: float) -> Callable[[int], Batch]:
    batch = rows(size=128)

    def some(n: int) -> Batch:
        x, y = batch(n)
        drawn = torch.Generator().manual_seed(n)
        other = torch.randint(10, y.shape, generator=drawn)
        return x, torch.where(torch.rand(y.shape, generator=drawn) < share, other, y)

    return some


def two_heads() -> Training:
    """The digit, and whether it is even; the outputs are a pair."""
    body, one, two = mlp(2, 64, outputs=64), nn.Linear(64, 10), nn.Linear(64, 1)
    batch = rows()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.one, self.two = body, one, two

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = torch.relu(self.body(x))
            return self.one(h), self.two(h)[:, 0]

    model = Both()

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        kind, even = model(x)
        return functional.cross_entropy(kind, y) + functional.binary_cross_entropy_with_logits(even, (y % 2).float())

    return looped(model, NAdam(model.parameters(), 2e-3), losses)


RUNS: dict[str, Callable[[], Training]] = {
    "breast cancer, one linear layer, SGD": lambda: of(nn.Linear(30, 2), SGD, 0.1, rows("breast-cancer", 64)),
    "discrete codes with noise, Adam": lambda: of(
        Choices(), Adam, 2e-3, lambda n: (rows()(n)[0], rows()(n)[0]), filled
    ),
    "convolutions, then a GRU, AdamW": lambda: of(Windows(), AdamW, 2e-3, rows(shape=TOKENS)),
    "class token, blocks left out, AdamW": lambda: of(Deep(), AdamW, 1e-3, rows(shape=TOKENS)),
    "bumps around points, Adam": lambda: of(Bumps(), Adam, 5e-3, rows()),
    "half of the pixels hidden": lambda: of(mlp(2, 128, nn.GELU, outputs=64), AdamW, 1e-3, upper_half(), filled),
    "masks after each step": pruned,
    "no negative weights": not_negative,
    "cyclic rate, CNN": cyclic,
    "state carried over, LSTM": carried,
    "trunk trained from step 30": unfrozen,
    "preferences, DPO at 1e-4": lambda: preferred(1e-4),
    "GPT, groups, inverse root, z-loss": decayed_groups,
    "two labels of five wrong": lambda: of(mlp(3, 96), AdamW, 2e-3, wrong_labels(0.4)),
    "two heads, NAdam": two_heads,
    "Adam with amsgrad and eps 1e-4": lambda: of(
        Highway(), lambda p, r: Adam(p, r, amsgrad=True, eps=1e-4), 2e-3, rows()
    ),
    "Adagrad at 0.01, mixer": lambda: of(Mixer(), Adagrad, 0.01, rows(shape=TOKENS)),
    "SGD at 0.02 with momentum 0.95, convolutions over rows": lambda: of(
        RowConv(), lambda p, r: SGD(p, r, momentum=0.95), 0.02, rows(shape=TOKENS)
    ),
    "decoder in bfloat16, AdamW": lambda: of(
        Decoder(vocabulary()).bfloat16(),
        AdamW,
        2e-3,
        characters(),
        lambda o, y: functional.cross_entropy(o.float(), y),
    ),
    "Lion, convolutions over text": lambda: of(
        TextConv(vocabulary()), lambda p, r: Lion(p, r, weight_decay=0.3), 5e-4, characters()
    ),
    "log-cosh of standardised targets": lambda: of(
        mlp(2, 48, nn.ELU, inputs=10, outputs=1),
        Adam,
        3e-3,
        rows("diabetes", 48),
        lambda o, y: torch.log(torch.cosh(o[:, 0] - (y.float().view(-1) - 152) / 77)).mean(),
    ),
    "residual of 12, SGD at 0.1, clipped": lambda: of(Residual(12), SGD, 0.1, rows(), clip=1.0),
    "separable convolutions, batches of 16": lambda: of(SeparableConv(), Adam, 3e-3, rows(size=16, shape=PICTURES)),
}
