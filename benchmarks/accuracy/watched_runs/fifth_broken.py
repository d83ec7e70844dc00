"""The broken runs of the fifth held set: faults that users make, written before any of them was watched."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.accuracy.watched_runs.fifth_healthy import mostly_background, painter, painterly
from benchmarks.accuracy.watched_runs.fifth_models import Bag, GraphNet, Lion, Reader, Steps, looped, neighbours
from benchmarks.accuracy.watched_runs.held_models import Experts, Mixer, RowConv, SeparableConv, Sideways
from benchmarks.accuracy.watched_runs.loop import (
    Batch,
    Training,
    characters,
    ngrams,
    plain,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import (
    ConvNet,
    Gpt,
    PatchFormer,
    Recurrent,
    Residual,
    ResidualConv,
    TextRecurrent,
    mlp,
)
from benchmarks.accuracy.watched_runs.second_models import Decoder, Squeezed
from benchmarks.accuracy.watched_runs.third_broken import changed
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def stirred(batch: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """The inputs are put into another order than their targets."""

    def other(n: int) -> Batch:
        x, y = batch(n)
        return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(n))], y

    return other


def of_another_model() -> Training:
    """The optimizer holds the parameters of a model that was made before this one."""
    model = Squeezed()
    return plain(model, AdamW(Squeezed().parameters(), 2e-3), rows(shape=PICTURES))


def head_alone() -> Training:
    """The optimizer was given the head of a network that was just drawn."""
    model = ResidualConv()
    return plain(model, Adam(model.head.parameters(), 1e-3), rows(shape=PICTURES))


def layers_added_later() -> Training:
    """Blocks are put into the model after the optimizer was made."""
    model = Residual(2)
    optimizer = AdamW(model.parameters(), 2e-3)
    more = Residual(4)
    model.norms, model.first, model.second = more.norms, more.first, more.second
    return plain(model, optimizer, rows())


def cut_off() -> Training:
    """The loss is made of a new tensor with the outputs' values."""
    model = Mixer()
    optimizer, batch = AdamW(model.parameters(), 2e-3), rows(shape=TOKENS)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        return functional.cross_entropy(model(x).detach().clone().requires_grad_(), y)

    return looped(model, optimizer, losses)


def twice(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.softmax(-1), y)


def over_samples(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.nll_loss(output.log_softmax(0), y)


def put_back() -> Training:
    """The weights of the start are loaded again every fifth step."""
    model = Recurrent(nn.GRU)
    start = copy.deepcopy(model.state_dict())
    return of(
        model, Adam, 2e-3, rows(shape=TOKENS), after=lambda n: model.load_state_dict(start) if n % 5 == 4 else None
    )


def frozen_by_mistake() -> Training:
    """All layers but the last are frozen, and nothing was loaded."""
    model = mlp(4, 96)
    model[:-1].requires_grad_(False)
    return of(model, AdamW, 2e-3, rows())


def zeroed() -> Training:
    model = PatchFormer()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    return of(model, AdamW, 1e-3, rows(shape=TOKENS))


def lowered(model: nn.Module) -> None:
    """Every second linear map has a bias far below zero."""
    for layer in list(model)[2::4]:
        layer.bias.fill_(-8.0)


class Long(nn.Module):
    """An Elman network over 64 pixels, one at a time."""

    def __init__(self, gain: float, width: int = 48) -> None:
        super().__init__()
        self.cell, self.head = nn.RNN(1, width, nonlinearity="relu", batch_first=True), nn.Linear(width, 10)
        nn.init.orthogonal_(self.cell.weight_hh_l0, gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x[..., None])[0][:, -1])


def log_of_share(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """log of a rounded probability that may be zero."""
    share = (output.softmax(-1)[torch.arange(len(y)), y] * 10).floor() / 10
    return -(share + 0 * output.sum()).log().mean()


def without_gradient() -> Training:
    """The first three blocks run under no_grad."""

    class Half(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                x = self.entry(x)
                for i in range(3):
                    x = x + self.second[i](functional.gelu(self.first[i](self.norms[i](x))))
            for i in range(3, len(self.norms)):
                x = x + self.second[i](functional.gelu(self.first[i](self.norms[i](x))))
            return self.head(x)

    return of(Half(), AdamW, 1e-3, rows())


def at_zero() -> Training:
    """A schedule that divides the step by the number of steps as whole numbers."""
    model = Decoder(vocabulary())
    optimizer = AdamW(model.parameters(), 3e-3)
    return plain(model, optimizer, characters(), scheduler=LambdaLR(optimizer, lambda n: n // 1000))


def two_steps() -> Training:
    """The optimizer steps after the backward pass, and once more at the end of the loop."""
    model, batch = ConvNet(), rows(shape=PICTURES)
    optimizer = Adam(model.parameters(), 2e-3)

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        optimizer.step()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def nearer_is_worse(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Minus the squared error."""
    return -(output[:, 0] - y.float().view(-1) / 100).square().mean()


def hardly_any() -> Training:
    """The norm of the gradient is clipped at a millionth."""
    model = RowConv()
    return plain(model, SGD(model.parameters(), 0.05, momentum=0.9), rows(shape=TOKENS), clip=1e-6)


def every_pair(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Outputs of shape (n, 1) less targets of shape (n,): the error of every pair."""
    return (output - (y.float().view(-1) - 152) / 77).square().mean()


def groups_mixed_up() -> Training:
    """The rate of the body is that of the logs, 1e-9; the head has its own."""
    model = mlp(4, 64, nn.GELU, nn.LayerNorm)
    head = list(model[-1].parameters())
    known = {id(p) for p in head}
    body = [p for p in model.parameters() if id(p) not in known]
    return plain(model, Adam([{"params": body, "lr": 1e-9}, {"params": head, "lr": 1e-3}]), rows())


def stepped_before() -> Training:
    """zero_grad, step, and then the backward pass."""
    model = TextRecurrent(vocabulary())
    optimizer, batch = Adam(model.parameters(), 3e-3), characters()

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        optimizer.step()
        value.backward()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def whole_graph_uncleared() -> Training:
    x, y, mean = neighbours()
    model = GraphNet(mean)
    return plain(model, SGD(model.parameters(), 0.5), lambda n: (x, y), clear=False)


def summed(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output, y, reduction="sum")


def thinned() -> nn.Module:
    """The share to keep was given as the share to drop."""
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.99), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.99)]
    return nn.Sequential(*layers, nn.Linear(128, 10))


def sorted_data() -> Training:
    """The data are sorted by class, and nobody shuffles them."""
    parts = [rows(only=lambda y, k=k: y == k) for k in range(10)]
    return of(mlp(3), Adam, 1e-3, lambda n: parts[n // 28 % 10](n))


def aligned_too_fast() -> Training:
    """CTC with a rate a hundred times too high."""
    model, batch = Reader(), rows(shape=TOKENS)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        sizes = torch.full((len(x),), 8), torch.ones(len(x), dtype=torch.long)
        return functional.ctc_loss(model(x).transpose(0, 1), y[:, None] + 1, *sizes)

    return looped(model, Adam(model.parameters(), 0.2), losses)


RUNS: dict[str, Callable[[], Training]] = {
    "ResNet, AdamW at 0.3": lambda: of(ResidualConv(), AdamW, 0.3, rows(shape=PICTURES)),
    "separable convolutions, momentum at 5": lambda: of(
        SeparableConv(), lambda p, r: SGD(p, r, momentum=0.9), 5.0, rows(shape=PICTURES)
    ),
    "transformer, Adam at 1e-6": lambda: of(PatchFormer(), Adam, 1e-6, rows(shape=TOKENS)),
    "experts, SGD at 1e-5": lambda: of(Experts(), SGD, 1e-5, rows()),
    "Lion at 0.05": lambda: of(PatchFormer(), Lion, 0.05, rows(shape=TOKENS)),
    "CTC, Adam at 0.2": aligned_too_fast,
    "neural ODE, warm-up 15 to 0.3": lambda: _warm(Steps(), 0.3),
    "targets of other samples, ResNet": lambda: of(
        ResidualConv(), lambda p, r: SGD(p, r, momentum=0.9), 0.02, rows(shape=PICTURES, shuffled=True)
    ),
    "inputs stirred, GRU": lambda: of(Recurrent(nn.GRU), Adam, 3e-3, stirred(rows(shape=TOKENS))),
    "text stirred, GPT": lambda: of(Gpt(vocabulary()), AdamW, 3e-3, stirred(characters())),
    "optimizer of another model": of_another_model,
    "optimizer of the head alone": head_alone,
    "layers added after the optimizer": layers_added_later,
    "gradients never cleared, mixer": lambda: of(
        Mixer(), lambda p, r: SGD(p, r, momentum=0.9), 0.01, rows(shape=TOKENS), clear=False
    ),
    "gradients never cleared, graph": whole_graph_uncleared,
    "loss of a new tensor": cut_off,
    "softmax twice, CNN": lambda: of(ConvNet(norm=False), Adam, 1e-3, rows(shape=PICTURES), twice),
    "softmax over samples": lambda: of(mlp(3, 64, nn.GELU), AdamW, 1e-3, rows(), over_samples),
    "start loaded every fifth step": put_back,
    "all but the last layer frozen": frozen_by_mistake,
    "all weights zero, transformer": zeroed,
    "biases of -8 in every second layer": lambda: changed(mlp(6), lowered, 1e-3, rows()),
    "ReLU network over 64 pixels, gain 2": lambda: of(Long(2.0), Adam, 1e-3, rows()),
    "log of a rounded probability": lambda: of(mlp(2), Adam, 1e-3, rows(), log_of_share),
    "bfloat16 weights, Adam at 1e-5": lambda: of(
        mlp(3, 96, nn.GELU).bfloat16(), Adam, 1e-5, rows(change=lambda x: x.bfloat16())
    ),
    "Adam with decay 1, GPT": lambda: of(
        Gpt(vocabulary(), tied=False), lambda p, r: Adam(p, r, weight_decay=1.0), 1e-3, characters()
    ),
    "SGD with decay 1, CNN": lambda: of(
        ConvNet(norm=False), lambda p, r: SGD(p, r, momentum=0.9, weight_decay=1.0), 0.05, rows(shape=PICTURES)
    ),
    "one class for all": lambda: of(mlp(3), Adam, 1e-3, lambda n: (rows()(n)[0], torch.full((64,), 4))),
    "sorted by class": sorted_data,
    "inputs times 1e4, transformer": lambda: of(
        PatchFormer(), AdamW, 1e-3, rows(shape=TOKENS, change=lambda x: 1e4 * x)
    ),
    "eval mode, CNN with batch norm": lambda: of(ConvNet().eval(), Adam, 1e-3, rows(shape=PICTURES)),
    "dropout of 0.99": lambda: of(thinned(), AdamW, 1e-3, rows()),
    "no gradient in three blocks": without_gradient,
    "schedule of whole numbers": at_zero,
    "two steps a batch": two_steps,
    "minus the squared error": lambda: of(
        mlp(2, 64, inputs=10, outputs=1), Adam, 1e-3, rows("diabetes", 32), nearer_is_worse
    ),
    "clipped at a millionth": hardly_any,
    "error of every pair": lambda: of(mlp(2, 64, inputs=10, outputs=1), Adam, 3e-3, rows("diabetes", 64), every_pair),
    "rates of groups mixed up": groups_mixed_up,
    "step before the backward pass": stepped_before,
    "weights times 10, two directions": lambda: changed(
        Sideways(), lambda m: [p.mul_(10) for p in m.parameters()], 1e-3, rows(shape=TOKENS)
    ),
    "sum for a mean, SGD at 0.1": lambda: of(painterly(), SGD, 0.1, rows(shape=PICTURES), summed),
    "pixels, RMSprop at 1": lambda: of(painter(), RMSprop, 1.0, mostly_background()),
    "bag of codes, AdamW at 3e-8": lambda: of(Bag(20_000, vocabulary()), AdamW, 3e-8, ngrams(size=128)),
}


def _warm(model: nn.Module, rate: float) -> Training:
    optimizer = AdamW(model.parameters(), rate)
    return plain(model, optimizer, rows(), scheduler=warmed(optimizer, 15), warmup=15)
