"""The broken runs of the sixth held set: written when the fifth had been read, before any of these was watched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, Adamax, AdamW, RMSprop
from torch.optim.lr_scheduler import LinearLR, StepLR

from benchmarks.accuracy.watched_runs.fifth_models import Steps, looped
from benchmarks.accuracy.watched_runs.held_models import Dense, PostNorm, SeparableConv
from benchmarks.accuracy.watched_runs.loop import Batch, Training, characters, plain, pretrained, rows, vocabulary
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, Residual, TextRecurrent, mlp
from benchmarks.accuracy.watched_runs.second_models import Decoder, Highway, Squeezed, TextConv
from benchmarks.accuracy.watched_runs.sixth_healthy import binary, squared
from benchmarks.accuracy.watched_runs.sixth_models import (
    Adapter,
    Angular,
    Cells,
    Factors,
    Lars,
    Made,
    SetNet,
    Sparse,
    marginal,
    ratings,
    several,
    sums,
)
from benchmarks.accuracy.watched_runs.third_broken import changed
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def any_targets(batch: Callable[[int], Batch], classes: int) -> Callable[[int], Batch]:
    """Targets are drawn by chance for every batch."""

    def other(n: int) -> Batch:
        x, y = batch(n)
        return x, torch.randint(classes, y.shape, generator=torch.Generator().manual_seed(n))

    return other


def next_batch(batch: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """Inputs of one loader, targets of another that is one batch ahead."""
    return lambda n: (batch(n)[0], batch(n + 1)[1])


def made_again() -> Training:
    """The head is replaced for another number of classes when the optimizer is there already."""
    model = PostNorm()
    optimizer = AdamW(model.parameters(), 1e-3)
    model.head = nn.Linear(32, 10)
    return plain(model, optimizer, rows(shape=TOKENS))


def adapters_forgotten() -> Training:
    """The optimizer holds what was trainable before the adapters were put in; all of that is frozen now."""
    model = pretrained(mlp(3, 96), rows(), 100)
    optimizer = Adam(model.parameters(), 1e-3)
    for i in (0, 2, 4):
        model[i] = Adapter(model[i])
    model[-1].requires_grad_(False)
    return plain(model, optimizer, rows(change=lambda x: 1 - x))


def other_cleared() -> Training:
    """zero_grad is called on an optimizer of another model."""
    model, other = TextConv(vocabulary()), mlp(1)
    optimizer, clears, batch = AdamW(model.parameters(), 2e-3), SGD(other.parameters(), 0.1), characters()

    def body(n: int) -> torch.Tensor:
        x, y = batch(n)
        value = functional.cross_entropy(model(x), y)
        clears.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


def number_again() -> Training:
    """The loss is made a number and a tensor again before the backward pass."""
    model, batch = Cells(), rows(shape=TOKENS)

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        return torch.tensor(functional.cross_entropy(model(x), y).item(), requires_grad=True)

    return looped(model, Adam(model.parameters(), 2e-3), losses)


def minus_sparse() -> Training:
    model, batch = Sparse(), rows(size=128)
    return looped(model, Adam(model.parameters(), 1e-3), lambda n: -model(batch(n)[0]), model.keep)


def minus_binary(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -binary(output, y)


def shares(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A sigmoid before a loss that applies its own."""
    return binary(output.sigmoid(), y)


def bare(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """nll_loss of a softmax, without the logarithm."""
    return functional.nll_loss(output.softmax(-1), y)


def drawn_frozen() -> Training:
    """The trunk is frozen as one would freeze a trained one, and nothing was loaded."""
    model = ConvNet().requires_grad_(False)
    model.head.requires_grad_(True)
    return of(model, Adam, 1e-3, rows(shape=PICTURES))


def constant(model: nn.Module) -> None:
    for p in model.parameters():
        p.fill_(0.01)


def rooted(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The square root of an error that is zero for some."""
    return (torch.relu(output[:, 0] - y.float().view(-1) / 100)).sqrt().mean()


def tiny_in_half() -> Training:
    """float16 without a scaled loss: a loss that is divided by the number of all samples of a year."""
    model = mlp(3, 64).half()
    return of(model, SGD, 0.1, rows(change=lambda x: x.half()), times=1e-7)


def epochs_for_steps() -> Training:
    """A staircase that was meant for epochs is called every batch."""
    model = Dense()
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=StepLR(optimizer, 2, 0.2))


def never_warm() -> Training:
    """A warm-up from a hundred-thousandth, whose scheduler is called after 1,000 steps for the first time."""
    model = Gpt(vocabulary())
    optimizer = AdamW(model.parameters(), 3e-3)
    LinearLR(optimizer, 1e-5, total_iters=10)
    return plain(model, optimizer, characters())


def still_a_test() -> Training:
    """A transformer with dropout stays in eval mode after the first test."""
    layers = [nn.TransformerEncoderLayer(32, 4, 64, dropout=0.2, batch_first=True) for _ in range(2)]
    model = nn.Sequential(nn.Linear(8, 32), *layers, nn.Flatten(), nn.Linear(256, 10)).eval()
    return of(model, AdamW, 1e-3, rows(shape=TOKENS))


class Forgetful(Residual):
    """The first map is drawn again in every forward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.entry.reset_parameters()
        return super().forward(x)


class Halved(Highway):
    """The signal is cut off from its graph in the middle."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hook = self.head.register_forward_pre_hook(lambda m, args: (args[0].detach(),))
        out = super().forward(x)
        hook.remove()
        return out


def thinned() -> nn.Module:
    """Whole maps are dropped, nineteen of twenty."""
    model = ConvNet()
    model.body.insert(3, nn.Dropout2d(0.95))
    return model


def wide_averaged() -> Training:
    """The weights of the best step so far are loaded after every step that is worse."""
    model = Recurrent(nn.LSTM)
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    return of(model, Adam, 3e-3, rows(shape=TOKENS), after=lambda n: model.load_state_dict(kept))


RUNS: dict[str, Callable[[], Training]] = {
    "factors of ratings, Adam at 2": lambda: of(Factors(), Adam, 2.0, ratings(), squared),
    "cosines with a margin, SGD at 500": lambda: of(Angular(), SGD, 500.0, rows(), marginal),
    "LARS with a trust of 20": lambda: of(ConvNet(), lambda p, r: Lars(p, r, trust=20.0), 1.0, rows(shape=PICTURES)),
    "LSTM cells, Adam at 0.3": lambda: of(Cells(), Adam, 0.3, rows(shape=TOKENS)),
    "largest of a set, AdamW at 1e-7": lambda: of(SetNet(), AdamW, 1e-7, sums(), squared),
    "neural ODE, SGD at 1e-6": lambda: of(Steps(), SGD, 1e-6, rows()),
    "targets by chance, mixer of rows": lambda: of(PatchFormer(), Adam, 2e-3, any_targets(rows(shape=TOKENS), 10)),
    "targets one batch ahead, CNN": lambda: of(
        SeparableConv(), AdamW, 2e-3, next_batch(rows(size=128, shape=PICTURES))
    ),
    "targets one batch ahead, text": lambda: of(Decoder(vocabulary()), AdamW, 3e-3, next_batch(characters())),
    "head replaced after the optimizer": made_again,
    "adapters not in the optimizer": adapters_forgotten,
    "zero_grad of another optimizer": other_cleared,
    "loss made a number": number_again,
    "sparse codes, loss maximised": minus_sparse,
    "ten properties, loss maximised": lambda: of(mlp(2, 96), AdamW, 2e-3, several(), minus_binary),
    "sigmoid twice": lambda: of(mlp(2, 96), AdamW, 2e-3, several(), shares),
    "no logarithm before nll_loss": lambda: of(mlp(3, 64, nn.Tanh), Adam, 1e-3, rows(), bare),
    "trunk frozen as drawn, CNN": drawn_frozen,
    "all weights 0.01": lambda: changed(Squeezed(), constant, 1e-3, rows(shape=PICTURES)),
    "root of zero": lambda: of(mlp(2, 32, inputs=10, outputs=1), Adam, 1e-3, rows("diabetes", 64), rooted),
    "float16, loss times 1e-7": tiny_in_half,
    "decay 50, AdamW": lambda: of(PatchFormer(), lambda p, r: AdamW(p, r, weight_decay=50.0), 3e-3, rows(shape=TOKENS)),
    "decay 3, RMSprop": lambda: of(mlp(4, 64), lambda p, r: RMSprop(p, r, weight_decay=3.0), 1e-3, rows()),
    "staircase of epochs called every batch": epochs_for_steps,
    "warm-up that does not begin": never_warm,
    "eval mode, transformer with dropout": still_a_test,
    "drawn again in every pass": lambda: of(Forgetful(), AdamW, 1e-3, rows()),
    "cut off before the head": lambda: of(Halved(), Adam, 1e-3, rows()),
    "maps dropped, nineteen of twenty": lambda: of(thinned(), Adam, 1e-3, rows(shape=PICTURES)),
    "weights of the start loaded again": wide_averaged,
    "inputs all zero": lambda: of(ConvNet(norm=False), Adam, 1e-3, rows(shape=PICTURES, change=torch.zeros_like)),
    "inputs with an offset of 1e5, GRU": lambda: of(
        Recurrent(nn.GRU), Adam, 1e-3, rows(shape=TOKENS, change=lambda x: x + 1e5)
    ),
    "clipped at zero": lambda: of(TextRecurrent(vocabulary(), nn.GRU), Adamax, 2e-3, characters(), clip=0.0),
    "weights times 20, made weights": lambda: changed(
        Made(), lambda m: [p.mul_(20) for p in m.parameters()], 1e-3, rows()
    ),
}
