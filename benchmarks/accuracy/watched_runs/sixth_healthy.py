"""The healthy runs of the sixth held set: written when the fifth had been read, before any of these was watched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.optim import SGD, Adam, Adamax, AdamW, RAdam, RMSprop, Rprop
from torch.optim.lr_scheduler import MultiStepLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from benchmarks.accuracy.watched_runs.fifth_models import Steps, looped
from benchmarks.accuracy.watched_runs.held_models import PostNorm, SeparableConv
from benchmarks.accuracy.watched_runs.loop import Training, characters, plain, pretrained, rows, vocabulary, warmed
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, PatchFormer, Recurrent, Residual, ResidualConv, mlp
from benchmarks.accuracy.watched_runs.second_models import Highway, Squeezed
from benchmarks.accuracy.watched_runs.sixth_models import (
    Adapter,
    Angular,
    Cells,
    Factors,
    Guessed,
    Lars,
    Made,
    Prompted,
    Rounded,
    SetNet,
    Sparse,
    Words,
    contexts,
    marginal,
    ratings,
    several,
    sums,
)
from benchmarks.accuracy.watched_runs.third_healthy import PICTURES, TOKENS, of

__all__ = ["RUNS"]


def squared(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(output, y)


def binary(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(output, y)


def with_weights(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(output, y, pos_weight=torch.full((10,), 2.0))


def adapted() -> Training:
    """Narrow pairs behind the layers of a trained network, for brighter digits."""
    model = pretrained(mlp(3, 96), rows(), 200)
    for i in (0, 2, 4):
        model[i] = Adapter(model[i])
    model[-1].requires_grad_(False)
    return of(model, AdamW, 3e-3, rows(change=lambda x: 1 - x))


def prompted() -> Training:
    model = Prompted(pretrained(PatchFormer(), rows(shape=TOKENS), 200))
    return of(model, Adam, 0.03, rows(shape=TOKENS, change=lambda x: x.flip(1)))


def sparse_codes() -> Training:
    model, batch = Sparse(), rows(size=128)
    return looped(model, Adam(model.parameters(), 1e-3), lambda n: model(batch(n)[0]), model.keep)


def guessed() -> Training:
    """The loss of the labels and the distance from a normal prior."""
    model, batch = Guessed(), rows()

    def losses(n: int) -> torch.Tensor:
        x, y = batch(n)
        prior = sum(
            m.square().sum() + functional.softplus(s).square().sum()
            for m, s in zip(model.means, model.spreads, strict=True)
        )
        return functional.cross_entropy(model(x), y) + 1e-5 * prior

    return looped(model, Adam(model.parameters(), 3e-3), losses)


class Checkpointed(Residual):
    """Each block is computed again in the backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entry(x)
        for norm, a, b in zip(self.norms, self.first, self.second, strict=True):
            x = x + checkpoint(lambda h, n=norm, a=a, b=b: b(functional.gelu(a(n(h)))), x, use_reentrant=False)
        return self.head(x)


def orthogonal() -> nn.Module:
    """Two square maps stay orthogonal by how they are made."""
    model = mlp(3, 64, nn.Tanh)
    for i in (2, 4):
        parametrizations.orthogonal(model[i])
    return model


def averaged() -> Training:
    model = ConvNet()
    slow = AveragedModel(model)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    return plain(model, optimizer, rows(shape=PICTURES), after=lambda n: slow.update_parameters(model))


def staircase() -> Training:
    model = SeparableConv()
    optimizer = RMSprop(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(shape=PICTURES), scheduler=MultiStepLR(optimizer, [30, 60], 0.3))


def hinged(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Each pair of digits: near if they are the same, two apart if not."""
    far, same = torch.cdist(output, output + 1e-6), y[:, None] == y[None]
    return torch.where(same, far.square(), (2 - far).relu().square()).mean()


def matched() -> Training:
    """Denoising score matching: the network's gradient in its input is the score (double backward)."""
    model, batch = mlp(2, 96, nn.SiLU, outputs=1), rows()
    optimizer = Adam(model.parameters(), 1e-3)

    def losses(n: int) -> torch.Tensor:
        x, _ = batch(n)
        noise = torch.randn_like(x)
        y = (x + 0.5 * noise).requires_grad_()
        (score,) = torch.autograd.grad(model(y).sum(), y, create_graph=True)
        return (score * 0.5 + noise).square().mean()

    return looped(model, optimizer, losses)


def next_capital() -> Training:
    """A trained GPT goes on with the same text at a tenth of the rate, clipped."""
    model = pretrained(Gpt(vocabulary()), characters(), 150, 3e-3)
    return plain(model, AdamW(model.parameters(), 3e-4), characters(12, 32), clip=1.0)


RUNS: dict[str, Callable[[], Training]] = {
    "one linear layer, SGD": lambda: of(nn.Linear(64, 10), SGD, 0.5, rows()),
    "linear regression, SGD with momentum": lambda: of(
        nn.Linear(10, 1),
        lambda p, r: SGD(p, r, momentum=0.9),
        0.05,
        rows("diabetes", 64),
        lambda o, y: functional.mse_loss(o[:, 0], (y.float().view(-1) - 152) / 77),
    ),
    "factors of ratings, Adam": lambda: of(Factors(), Adam, 0.02, ratings(), squared),
    "vectors of characters, negative samples": lambda: of(
        Words(vocabulary()), Adam, 0.02, contexts(vocabulary()), binary
    ),
    "sparse codes with unit columns": sparse_codes,
    "narrow adapters": adapted,
    "trained rows in front of a frozen transformer": prompted,
    "weights that a network makes": lambda: of(Made(), Adam, 2e-3, rows()),
    "largest of a set": lambda: of(SetNet(), AdamW, 3e-3, sums(), squared),
    "cosines with a margin": lambda: of(Angular(), Adam, 2e-3, rows(), marginal),
    "four-bit weights, straight through": lambda: of(Rounded(), Adam, 1e-3, rows()),
    "weights drawn in every pass": guessed,
    "LSTM cells with dropout, RAdam": lambda: of(Cells(), RAdam, 5e-3, rows(shape=TOKENS)),
    "LARS, batches of 256": lambda: of(ResidualConv(), Lars, 1.0, rows(size=256, shape=PICTURES)),
    "Rprop, all of wine": lambda: of(mlp(1, 24, nn.Tanh, inputs=13, outputs=3), Rprop, 1e-3, rows("wine", 170)),
    "Adamax, squeeze and excitation": lambda: of(Squeezed(), Adamax, 5e-3, rows(shape=PICTURES)),
    "ten properties, weights of positives": lambda: of(mlp(2, 96), AdamW, 2e-3, several(), with_weights),
    "residual, checkpointed, bfloat16 autocast": lambda: of(
        Checkpointed(4), AdamW, 1e-3, rows(), autocast=True, accumulate=2
    ),
    "maps kept orthogonal": lambda: of(orthogonal(), Adam, 1e-3, rows()),
    "average of weights beside, CNN": averaged,
    "separable convolutions, staircase": staircase,
    "pairs with a hinge, momentum": lambda: of(
        mlp(2, 64, outputs=8), lambda p, r: SGD(p, r, momentum=0.9), 0.02, rows(), hinged
    ),
    "score of noisy digits": matched,
    "trained GPT goes on": next_capital,
    "neural ODE, warm-up 10 and cosine": lambda: _scheduled(Steps(), 3e-3),
    "transformer with norms behind, RAdam": lambda: of(PostNorm(), RAdam, 2e-3, rows(shape=TOKENS)),
    "highway, Nesterov, decay 5e-4": lambda: of(
        Highway(), lambda p, r: SGD(p, r, momentum=0.9, nesterov=True, weight_decay=5e-4), 0.05, rows()
    ),
    "GRU, Huber loss on one-hot, Adam": lambda: of(
        Recurrent(nn.GRU),
        Adam,
        3e-3,
        rows(shape=TOKENS),
        lambda o, y: functional.huber_loss(o, functional.one_hot(y, 10).float(), delta=0.5),
    ),
}


def _scheduled(model: nn.Module, rate: float) -> Training:
    optimizer = AdamW(model.parameters(), rate, weight_decay=0.05)
    return plain(model, optimizer, rows(), scheduler=warmed(optimizer, 10, 150), warmup=10)
